package vmm

// Kernelless is a Driver whose machines may boot no kernel: then a VM needs
// neither image nor kernel files.
type Kernelless interface{ Kernelless() bool }
