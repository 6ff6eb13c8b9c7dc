package watering

import "testing"

func TestFlow(t *testing.T) {
	var f Flow
	flow := 0.0
	for range 2000 {
		flow += 0.1 * (f.Step(0.5, flow) - flow) // a pump that follows slowly
	}
	if flow < 0.45 || flow > 0.55 {
		t.Errorf("the flow settles at %.3f, want 0.5", flow)
	}
	for range 2000 {
		flow += 0.1 * (f.Step(0, flow) - flow)
	}
	if flow > 0.05 {
		t.Errorf("a closed valve lets %.3f through", flow)
	}
	if n := testing.AllocsPerRun(10, func() { f.Step(1, 0) }); n != 0 {
		t.Errorf("a step allocates %v times", n)
	}
}
