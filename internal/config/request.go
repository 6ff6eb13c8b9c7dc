package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
)

// A request is the part of a definition that a lock answers.
type request struct {
	Version int
	Arch    []string
	Sources map[string]Source
	Kernel  map[string]string // package by architecture
	From    map[string]string // source of kernel, boot and tools
	Trees   map[string]treeRequest
}

type treeRequest struct {
	From       string
	Packages   []string
	Essential  bool
	Without    []string
	Recommends bool
	Accept     []string
	Effects    string
	URL        map[string]string // by architecture
	// Absent in requests of definitions without images, which keep their digests.
	Image string            `json:",omitempty"`
	Nix   *nixRequest       `json:",omitempty"`
	Path  map[string]string `json:",omitempty"` // by architecture, of images alone
}

// nixRequest is what a lock answers about a Nix closure.
type nixRequest struct {
	Closure  map[string]string // by architecture
	Caches   []string
	Keys     []string
	Unsigned string
}

// RequestDigest returns the SHA-256, in hexadecimal, of the part of the
// definition that a lock answers: sources, packages and downloads. The order
// in which a definition names packages does not count. Two definitions with
// the same digest have the same lock.
func RequestDigest(def *Definition) (string, error) {
	r := request{
		Version: 1, Arch: ordered(def.Arch), Sources: def.Sources, Kernel: perArchOf(def, def.Kernel.Package),
		From:  map[string]string{"kernel": def.Kernel.From, "boot": def.Boot.From, "tools": def.Tools.From},
		Trees: map[string]treeRequest{},
	}
	for name, t := range def.Trees {
		switch {
		case t.From == "nix":
			r.Trees[name] = treeRequest{From: t.From, Nix: &nixRequest{perArchOf(def, t.Closure), t.Caches, ordered(t.Keys), t.Unsigned}}
		case t.From == "oci":
			r.Trees[name] = treeRequest{From: t.From, Image: t.Image}
			if len(t.Path) > 0 {
				r.Trees[name] = treeRequest{From: t.From, Image: t.Image, Path: perArchOf(def, t.Path)}
			}
		case slices.Contains(kinds, t.From) && len(t.URL) > 0:
			r.Trees[name] = treeRequest{From: t.From, URL: perArchOf(def, t.URL)}
		case !slices.Contains(kinds, t.From):
			r.Trees[name] = treeRequest{
				From: t.From, Packages: ordered(t.Packages), Essential: t.Essential, Without: ordered(t.Without),
				Recommends: t.Recommends, Accept: ordered(t.Accept), Effects: t.Effects,
			}
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("digest of the request: %w", err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// ordered returns a sorted copy that is never nil.
func ordered(words []string) []string {
	all := append([]string{}, words...)
	slices.Sort(all)
	return all
}

// perArchOf writes a word out for each architecture of the machine.
func perArchOf(def *Definition, p PerArch) map[string]string {
	all := map[string]string{}
	for _, arch := range def.Arch {
		all[arch] = p.For(arch)
	}
	return all
}
