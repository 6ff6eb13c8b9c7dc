package port

// On amd64 ordinary loads are not reordered with loads, nor stores with stores
// (Intel SDM, volume 3, "Memory Ordering"), and Go's compiler moves neither
// over the atomic operations on a slot's sequence. So the bytes of a message
// need no atomic operations.

func loadWord(p *uint64) uint64     { return *p }
func storeWord(p *uint64, v uint64) { *p = v }
