//go:build standin && race

package life

const raceEnabled = true
