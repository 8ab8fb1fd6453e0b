// Banger runs code that you don't trust in a microVM of its own.
package main

import (
	"os"

	"banger/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
