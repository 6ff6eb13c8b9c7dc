package config

import "testing"

func TestBrokenTasks(t *testing.T) { broken(t, "testdata/realtime.txtar") }
