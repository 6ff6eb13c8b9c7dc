package field

import "testing"

// ADRP with what completes it is one address, and moves as one.
func TestArmPair(t *testing.T) {
	text := make([]byte, 64)
	le.PutUint32(text[0:], 0xb0000081)  // adrp x1, 0x21000 further than its page
	le.PutUint32(text[4:], 0x94000003)  // bl . + 12
	le.PutUint32(text[8:], 0x910d1021)  // add x1, x1, #0x344
	le.PutUint32(text[12:], 0xf9401022) // ldr x2, [x1, #32]: not of the pair's page, but looks so
	l := &Layout{text: text, machine: machineArm, Sections: []Section{{Addr: 0x400000, Size: 64, flags: flagAlloc | flagExecute}}}
	l.codeArm(0)
	kinds := map[uint32]Kind{}
	for f := range l.Fields() {
		kinds[f.Pos] = f.Kind()
		p := Place{Layout: l, Addr: 0x400000 + uint64(f.Pos), Base: l.Base(f)}
		target := f.Target(p, -1, f.Read(text[f.Pos:]))
		if want := map[uint32]uint64{0: 0x411344, 4: 0x400010, 8: 0x411344, 12: 0x411020}[f.Pos]; target != want {
			t.Errorf("at %d: %x, want %x", f.Pos, target, want)
		}
		// In a new file all has moved by 0x1230, across a page.
		b := append([]byte(nil), text[f.Pos:f.End()]...)
		to := Place{Layout: l, Addr: p.Addr + 0x1230, Base: target + 0x1230}
		f.Write(b, f.Value(to, -1, target+0x1230))
		if got := f.Target(to, -1, f.Read(b)); got != target+0x1230 {
			t.Errorf("at %d moved: %x, want %x", f.Pos, got, target+0x1230)
		}
	}
	if kinds[0] != Page21 || kinds[4] != Branch26 || kinds[8] != Low12 {
		t.Errorf("kinds %v", kinds)
	}
}
