package suffix

// sortSuffixes writes the order of the suffixes of s, whose symbols are below
// k, to sa. A suffix that is a prefix of another stands before it.
func sortSuffixes[T byte | int32](s []T, sa []int32, k int) {
	n := len(s)
	if n == 0 {
		return
	}
	if n == 1 {
		sa[0] = 0
		return
	}
	smaller := make(bits, n/64+1) // the suffix is smaller than the next one
	for i := n - 2; i >= 0; i-- {
		if s[i] < s[i+1] || s[i] == s[i+1] && smaller.has(i+1) {
			smaller.set(i)
		}
	}
	leftmost := func(i int) bool { return i > 0 && smaller.has(i) && !smaller.has(i-1) }
	sizes := make([]int32, k)
	for _, c := range s {
		sizes[c]++
	}
	bucket := make([]int32, k)

	// Order the substrings between leftmost smaller suffixes.
	for i := range sa {
		sa[i] = -1
	}
	ends(sizes, bucket)
	for i := n - 1; i > 0; i-- {
		if leftmost(i) {
			bucket[s[i]]--
			sa[bucket[s[i]]] = int32(i)
		}
	}
	induce(s, sa, sizes, bucket, smaller)
	m := 0
	for _, p := range sa {
		if leftmost(int(p)) {
			sa[m] = p
			m++
		}
	}
	if m > 0 {
		nameAndSort(s, sa, m, leftmost)
	}

	// Put them, now in order, at the ends of their buckets and induce the rest.
	for i := m; i < n; i++ {
		sa[i] = -1
	}
	ends(sizes, bucket)
	for i := m - 1; i >= 0; i-- {
		p := sa[i]
		sa[i] = -1
		bucket[s[p]]--
		sa[bucket[s[p]]] = p
	}
	induce(s, sa, sizes, bucket, smaller)
}

// nameAndSort gives each of the m ordered substrings at the front of sa a
// number, equal ones the same, and sorts the suffixes of that shorter text.
func nameAndSort[T byte | int32](s []T, sa []int32, m int, leftmost func(int) bool) {
	n := len(s)
	names := sa[m:]
	for i := range names {
		names[i] = -1
	}
	name, last := int32(0), -1
	for i := 0; i < m; i++ {
		p := int(sa[i])
		if last >= 0 && !sameSubstring(s, last, p, leftmost) {
			name++
		}
		last = p
		names[p/2] = name
	}
	j := n - 1
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] >= 0 {
			sa[j] = names[i]
			j--
		}
	}
	short := sa[n-m:]
	order := sa[:m]
	if int(name)+1 < m {
		sortSuffixes(short, order, int(name)+1)
	} else {
		for i, c := range short {
			order[c] = int32(i)
		}
	}
	// Back from positions in the shorter text to positions in s.
	j = n - 1
	for i := n - 1; i > 0; i-- {
		if leftmost(i) {
			sa[j] = int32(i)
			j--
		}
	}
	for i := range order {
		order[i] = short[order[i]]
	}
}

// sameSubstring compares the substrings at p and q up to and including the next
// leftmost position; only one of them can reach the end of s.
func sameSubstring[T byte | int32](s []T, p, q int, leftmost func(int) bool) bool {
	for i := 0; ; i++ {
		if p+i >= len(s) || q+i >= len(s) || s[p+i] != s[q+i] {
			return false
		}
		if i > 0 {
			a, b := leftmost(p+i), leftmost(q+i)
			if a || b {
				return a && b
			}
		}
	}
}

// induce sorts all suffixes from the leftmost smaller ones, which stand at the
// ends of their buckets.
func induce[T byte | int32](s []T, sa, sizes, bucket []int32, smaller bits) {
	n := len(s)
	starts(sizes, bucket)
	put := func(p int) {
		sa[bucket[s[p]]] = int32(p)
		bucket[s[p]]++
	}
	put(n - 1) // the last suffix is larger than what follows it: nothing
	for i := 0; i < n; i++ {
		if p := int(sa[i]) - 1; p >= 0 && !smaller.has(p) {
			put(p)
		}
	}
	ends(sizes, bucket)
	for i := n - 1; i >= 0; i-- {
		if p := int(sa[i]) - 1; p >= 0 && smaller.has(p) {
			bucket[s[p]]--
			sa[bucket[s[p]]] = int32(p)
		}
	}
}

func starts(sizes, bucket []int32) {
	sum := int32(0)
	for i, n := range sizes {
		bucket[i] = sum
		sum += n
	}
}

func ends(sizes, bucket []int32) {
	sum := int32(0)
	for i, n := range sizes {
		sum += n
		bucket[i] = sum
	}
}

type bits []uint64

func (b bits) has(i int) bool { return b[i/64]>>(i%64)&1 != 0 }
func (b bits) set(i int)      { b[i/64] |= 1 << (i % 64) }
