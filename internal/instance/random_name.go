package instance

import "math/rand/v2"

// Words of made-up names: short, plain, unlike each other when spoken.
var (
	adjectives = []string{
		"amber", "bold", "brisk", "calm", "clear", "cool", "deft", "dry", "eager", "fair", "fast", "firm", "fond", "glad",
		"grand", "green", "happy", "keen", "kind", "light", "lucky", "mild", "neat", "noble", "plain", "proud", "quick",
		"quiet", "rapid", "ready", "sharp", "silent", "smart", "snug", "solid", "spry", "sunny", "swift", "tidy", "vivid",
		"warm", "wise", "young", "zesty",
	}
	nouns = []string{
		"acorn", "badger", "beacon", "birch", "brook", "canyon", "cedar", "comet", "coral", "crane", "delta", "falcon",
		"fern", "finch", "fjord", "garnet", "glade", "harbor", "heron", "island", "jasper", "juniper", "lagoon", "lark",
		"maple", "marten", "meadow", "nebula", "oak", "orchid", "otter", "pebble", "pine", "plover", "quartz", "raven",
		"reef", "ridge", "robin", "spruce", "summit", "thistle", "tundra", "walnut", "willow", "wren",
	}
)

// newName makes a readable name such as "brisk-otter-27": about 180,000 of
// them, so that a clash is rare and another try finds a free one.
func newName() string {
	n := rand.IntN(90) + 10
	return adjectives[rand.IntN(len(adjectives))] + "-" + nouns[rand.IntN(len(nouns))] + "-" + string(rune('0'+n/10)) + string(rune('0'+n%10))
}
