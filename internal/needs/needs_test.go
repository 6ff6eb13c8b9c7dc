package needs_test

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/needs"
)

func TestScripts(t *testing.T) {
	for line, want := range map[string]*needs.Script{
		"#!/bin/sh\necho":                        {Interp: "/bin/sh"},
		"#! /usr/bin/perl -w\n":                  {Interp: "/usr/bin/perl"},
		"#!/usr/bin/env python3\n":               {Interp: "/usr/bin/env", Program: "python3"},
		"#!/usr/bin/env -S A=b -i node --flag\n": {Interp: "/usr/bin/env", Program: "node"},
		"#!/usr/bin/env -Sawk -f\n":              {Interp: "/usr/bin/env", Program: "awk"},
		"#!/usr/bin/env -u HOME sh":              {Interp: "/usr/bin/env", Program: "sh"},
		"#!":                                     nil,
		"plain":                                  nil,
		"":                                       nil,
	} {
		f, err := needs.Read(strings.NewReader(line), int64(len(line)))
		if err != nil {
			t.Fatal(err)
		}
		if f.ELF != nil || (f.Script == nil) != (want == nil) || want != nil && *f.Script != *want {
			t.Errorf("%q: %+v, want %+v", line, f.Script, want)
		}
	}
}

// The programs and libraries of this machine, read as debug/elf reads them.
func TestAgainstDebugELF(t *testing.T) {
	seen := 0
	for _, glob := range []string{"/usr/bin/*", "/usr/lib/*-linux-gnu/*.so*", "/usr/sbin/*", "/lib64/*"} {
		names, _ := filepath.Glob(glob)
		for _, name := range names[:min(len(names), 100)] {
			if compare(t, name) {
				seen++
			}
		}
	}
	if seen == 0 {
		t.Skip("this machine has no ELF programs where Linux has them")
	}
	t.Logf("%d ELF files", seen)
}

func compare(t *testing.T, name string) bool {
	b, err := os.ReadFile(name)
	if err != nil || !bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		return false
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return false
	}
	got, err := needs.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return true
	}
	want, _ := f.ImportedLibraries()
	if !slices.Equal(got.ELF.Needed, want) {
		t.Errorf("%s needs %v, want %v", name, got.ELF.Needed, want)
	}
	runpath, _ := f.DynString(elf.DT_RUNPATH)
	if strings.Join(got.ELF.RunPath, ":") != strings.Join(runpath, ":") {
		t.Errorf("%s: run path %v, want %v", name, got.ELF.RunPath, runpath)
	}
	if s := f.Section(".interp"); s != nil {
		text, _ := s.Data()
		if got.ELF.Interp != strings.TrimRight(string(text), "\x00") {
			t.Errorf("%s: loader %q, want %q", name, got.ELF.Interp, text)
		}
	}
	return true
}

func TestDamaged(t *testing.T) {
	whole, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	for _, n := range []int{4, 63, 64, 100} {
		if _, err := needs.Read(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Errorf("%d bytes of a program are read without an error", n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("#!/usr/bin/env -S a"))
	for _, name := range []string{"/usr/bin/true", "/lib64/ld-linux-x86-64.so.2"} {
		if b, err := os.ReadFile(name); err == nil {
			f.Add(b[:min(len(b), 1<<16)])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := needs.Read(bytes.NewReader(b), int64(len(b)))
		if err == nil && got.ELF != nil && len(got.ELF.Needed) > 4096 {
			t.Error("more libraries than the limit")
		}
	})
}
