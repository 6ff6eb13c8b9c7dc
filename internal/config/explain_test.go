package config

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestReference(t *testing.T) {
	const name = "../../docs/reference/definition.md"
	if *update {
		if err := os.WriteFile(name, Reference(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(Reference(), want) {
		t.Errorf("%s is not what the types say; run go test ./internal/config -update", name)
	}
}

func TestExplain(t *testing.T) {
	for path, want := range map[string]Explanation{
		"containers.broker.health.within": {Path: "containers.*.health.within", Type: "duration", Default: "30s"},
		"containers.*.health":             {Path: "containers.*.health", Type: "health"},
		"containers":                      {Path: "containers", Type: "map of container", Keys: "names"},
		"containers.a":                    {Path: "containers.*", Type: "container"},
		"containers.a.tmpfs":              {Path: "containers.*.tmpfs", Type: "list of tmpfs"},
		"containers.a.tmpfs[3].size":      {Path: "containers.*.tmpfs[].size", Type: "size", Default: "16MiB", Min: "4KiB"},
		"containers.a.tmpfs.size":         {Path: "containers.*.tmpfs[].size", Type: "size", Default: "16MiB", Min: "4KiB"},
		"kernel.package":                  {Path: "kernel.package", Type: "string, or map from architecture to string"},
		"kernel.package.amd64":            {Path: "kernel.package.*", Type: "string"},
		"vm.forward.mqtt":                 {Path: "vm.forward.*", Type: "integer", Min: "1", Max: "65535"},
		"machine":                         {Path: "machine", Type: "name", Example: "greenhouse"},
		"":                                {Path: "", Type: "definition"},
	} {
		e, err := Explain(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if e.Path != want.Path || e.Type != want.Type || e.Doc == "" || e.Keys != want.Keys || e.Max != want.Max ||
			want.Default != "" && e.Default != want.Default || want.Min != "" && e.Min != want.Min || want.Example != "" && e.Example != want.Example {
			t.Errorf("Explain(%s) = %+v", path, e)
		}
	}
	e, _ := Explain("containers.*.restart")
	if len(e.Children) != 3 || e.Children[0].Path != "containers.*.restart.policy" || strings.Join(e.Children[0].Allowed, " ") != "always on-failure never" {
		t.Errorf("children of restart: %+v", e.Children)
	}
}

func TestExplainUnknown(t *testing.T) {
	for path, want := range map[string]string{
		"containers.broker.helth": "there is no key helth in containers.*: did you mean health?",
		"machin":                  "there is no key machin in a definition: did you mean machine?",
		"machine.name":            "there is no key machine.name: machine has no keys",
		"kernel.package.amd65":    "there is no key amd65 in kernel.package: did you mean amd64?",
	} {
		if _, err := Explain(path); err == nil || err.Error() != want {
			t.Errorf("Explain(%s): %v, want %s", path, err, want)
		}
	}
}
