package wire

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func (f *fake) Configurations() (Configurations, error) {
	return Configurations{Current: "day", List: []ConfigurationInfo{{Name: "day"}}}, nil
}

func (f *fake) PlanSwitch(r SwitchRequest) (SwitchPlan, error) {
	return SwitchPlan{From: "day", To: r.Configuration, Mode: r.Mode}, nil
}

func (f *fake) Switch(_ context.Context, r SwitchRequest) (SwitchPlan, error) {
	if r.Within != time.Second {
		return SwitchPlan{}, errors.New("irrigation: not healthy")
	}
	return f.PlanSwitch(r)
}

func TestSwitchCalls(t *testing.T) {
	c := serve(t, &fake{})
	ctx := t.Context()
	list, err := c.Configurations(ctx)
	if err != nil || list.Current != "day" || len(list.List) != 1 {
		t.Errorf("configurations %+v, %v", list, err)
	}
	r := SwitchRequest{Configuration: "night", Mode: SwitchLive}
	p, err := c.PlanSwitch(ctx, r)
	if err != nil || p.To != "night" || p.Mode != SwitchLive {
		t.Errorf("plan %+v, %v", p, err)
	}
	if _, err := c.Switch(ctx, r); !errors.Is(err, ErrRemote) || !strings.HasSuffix(err.Error(), "irrigation: not healthy") {
		t.Errorf("switch: %v", err)
	}
	r.Within = time.Second
	if p, err := c.Switch(ctx, r); err != nil || p.From != "day" {
		t.Errorf("switch: %+v, %v", p, err)
	}
	for _, method := range []string{MethodPlanSwitch, MethodSwitch} {
		if err := c.Call(ctx, method, 7, nil); err == nil || !strings.Contains(err.Error(), "parameters of "+method) {
			t.Errorf("wrong parameters: %v", err)
		}
	}
}
