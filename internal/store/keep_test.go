package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/instar-os/instar/internal/digest"
	"github.com/instar-os/instar/internal/store"
	"github.com/instar-os/instar/internal/store/storetest"
	"github.com/instar-os/instar/internal/system"
)

var ctx = context.Background()

// world is a store with two systems that share an image and an object.
type world struct {
	s              *store.Store
	shared, second system.Object // images
	old, new       digest.Digest // systems
	lone           digest.Digest // object of nobody
}

func text(c string) string { return strings.Repeat(c, 1000) }

func newWorld(t *testing.T, s *store.Store) *world {
	t.Helper()
	w := &world{s: s}
	var err error
	if w.shared, err = s.PutImage(ctx, storetest.PutTree(t, s, map[string]string{"a": text("a"), "both": text("b"), "small": "s"})); err != nil {
		t.Fatal(err)
	}
	if w.second, err = s.PutImage(ctx, storetest.PutTree(t, s, map[string]string{"c": text("c"), "x": text("b")})); err != nil {
		t.Fatal(err)
	}
	m := storetest.Manifest(t, s, w.shared, w.second)
	if w.old, err = s.PutSystem(m); err != nil {
		t.Fatal(err)
	}
	m.Machine = "newer"
	m.Configurations[0].Containers = m.Configurations[0].Containers[:1]
	if w.new, err = s.PutSystem(m); err != nil {
		t.Fatal(err)
	}
	if w.lone, err = s.PutBytes([]byte(text("lone"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestClosure(t *testing.T) {
	w := newWorld(t, open(t))
	both, err := w.s.Closure(w.old, w.new, w.old)
	if err != nil {
		t.Fatal(err)
	}
	// Six parts of the kernel, and the objects a, b and c.
	if len(both.Systems) != 2 || len(both.Images) != 2 || len(both.Objects) != 9 {
		t.Errorf("closure %+v", both)
	}
	again, err := w.s.Closure(w.new, w.old)
	if err != nil || !reflect.DeepEqual(both, again) {
		t.Errorf("the order of the systems shows in the closure: %v", err)
	}
	one, err := w.s.Closure(w.new)
	if err != nil || len(one.Images) != 1 || len(one.Objects) != 8 {
		t.Errorf("closure of the newer system %+v, %v", one, err)
	}
	if _, err := w.s.Closure(digest.Of(nil)); !errors.Is(err, store.ErrMissing) {
		t.Errorf("closure of a missing system: %v", err)
	}
}

func TestGC(t *testing.T) {
	w := newWorld(t, open(t))
	if err := w.s.SetRoot("current", w.new); err != nil {
		t.Fatal(err)
	}
	p, err := w.s.PlanGC(nil)
	if err != nil {
		t.Fatal(err)
	}
	// The old system, its second image, object c, the lone one, and the small
	// file, whose content stands in the image.
	if len(p.Delete.Systems) != 1 || len(p.Delete.Images) != 1 || len(p.Delete.Objects) != 3 || p.Free.Files != 5 {
		t.Errorf("plan:\n%s", p)
	}
	if text := p.String(); !strings.Contains(text, "delete system "+w.old.String()) || !strings.Contains(text, "free 5 files") {
		t.Errorf("the plan prints as\n%s", text)
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
	pinned, err := w.s.PlanGC([]digest.Digest{w.old})
	if err != nil || len(pinned.Delete.Systems) != 0 || len(pinned.Delete.Objects) != 2 {
		t.Errorf("plan with the old system pinned:\n%s%v", pinned, err)
	}
	if err := w.s.ExecuteGC(ctx, p); err != nil {
		t.Fatal(err)
	}
	if w.s.Has(w.lone) {
		t.Error("the lone object is remembered")
	}
	r, err := w.s.Verify(ctx, nil)
	if err != nil || !r.OK() || r.Checked != p.Keep {
		t.Errorf("after collection: %+v, %v; want %+v kept", r, err, p.Keep)
	}
}

func TestGCWaitsForNobody(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, openAt(t, dir))
	p, err := w.s.PlanGC(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.s.ExecuteGC(ctx, p); !errors.Is(err, store.ErrBusy) {
		t.Errorf("collection while another store is open: %v", err)
	}
	// The other one sees the object, and makes a system and root of what was
	// garbage when the plan was made.
	if err := other.SetRoot("kept", w.old); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.s.PutBytes([]byte("pending")); err != nil {
		t.Fatal(err)
	}
	if err := w.s.ExecuteGC(ctx, p); !errors.Is(err, store.ErrBusy) {
		t.Errorf("collection with something not committed: %v", err)
	}
	if err := w.s.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := w.s.ExecuteGC(ctx, p); err != nil {
		t.Fatal(err)
	}
	r, err := w.s.Verify(ctx, nil)
	if err != nil || !r.OK() {
		t.Errorf("the plan was stale and executed: %+v, %v", r, err)
	}
	if _, err := w.s.System(w.old); err != nil {
		t.Error(err)
	}
}

func TestGCRefusesUnknownRoots(t *testing.T) {
	w := newWorld(t, open(t))
	if _, err := w.s.PlanGC([]digest.Digest{digest.Of([]byte("?"))}); !errors.Is(err, store.ErrMissing) {
		t.Errorf("plan with a missing root: %v", err)
	}
	storetest.Damage(t, w.s.ImagePath(w.second.Digest))
	var damaged *store.DamageError
	if _, err := w.s.PlanGC([]digest.Digest{w.old}); !errors.As(err, &damaged) {
		t.Errorf("plan with a damaged root: %v", err)
	}
}

func TestVerifyAndRepair(t *testing.T) {
	good, w := newWorld(t, open(t)), newWorld(t, open(t))
	var last int64
	r, err := w.s.Verify(ctx, nil)
	if err != nil || !r.OK() || len(r.Strange) != 0 {
		t.Fatalf("a new store: %+v, %v", r, err)
	}
	storetest.Damage(t, w.s.ObjectPath(digest.Of([]byte(text("a")))))
	storetest.Damage(t, w.s.ImagePath(w.second.Digest))
	storetest.Damage(t, w.s.SystemPath(w.new))
	if err := os.Remove(w.s.ObjectPath(digest.Of([]byte(text("b"))))); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(w.s.ObjectPath(w.lone), 5); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"objects/zz", "stray", "images/name", "objects/00/short"} {
		p := filepath.Join(w.s.Dir(), name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err = w.s.Verify(ctx, func(done, total int64) { last = total })
	if err != nil || len(r.Damaged) != 4 || len(r.Missing) != 1 || len(r.Strange) != 4 || last == 0 {
		t.Fatalf("%+v, %v; progress of %d", r, err, last)
	}
	did, err := w.s.Repair(ctx, good.s, r)
	if err != nil || did.Files != 5 {
		t.Errorf("repaired %+v, %v", did, err)
	}
	if r, err = w.s.Verify(ctx, nil); err != nil || !r.OK() {
		t.Errorf("after repair: %+v, %v", r, err)
	}
}

func TestRepairFromADamagedStore(t *testing.T) {
	bad, w := newWorld(t, open(t)), newWorld(t, open(t))
	for _, s := range []*store.Store{bad.s, w.s} {
		storetest.Damage(t, s.ObjectPath(digest.Of([]byte(text("a")))))
	}
	r, err := w.s.Verify(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	var damaged *store.DamageError
	if did, err := w.s.Repair(ctx, bad.s, r); !errors.As(err, &damaged) || did.Files != 0 {
		t.Errorf("repaired %+v from a damaged store: %v", did, err)
	}
}

func TestCopyFrom(t *testing.T) {
	w, dst := newWorld(t, open(t)), open(t)
	c, err := w.s.Closure(w.old, w.new)
	if err != nil {
		t.Fatal(err)
	}
	did, err := dst.CopyFrom(ctx, w.s, c)
	if err != nil || did.Files != 13 || did.Bytes != c.Bytes() {
		t.Errorf("copied %+v, %v", did, err)
	}
	if did, err = dst.CopyFrom(ctx, w.s, c); err != nil || did.Files != 0 {
		t.Errorf("copied again %+v, %v", did, err)
	}
	if there, err := dst.Closure(w.old, w.new); err != nil || !reflect.DeepEqual(c, there) {
		t.Errorf("closure of the copy: %v", err)
	}
	if r, err := dst.Verify(ctx, nil); err != nil || !r.OK() || r.Checked.Files != 13 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDu(t *testing.T) {
	w := newWorld(t, open(t))
	owners := map[digest.Digest]string{digest.Of([]byte(text("a"))): "pkg-a", digest.Of([]byte(text("b"))): "pkg-b"}
	u, err := w.s.Du([]digest.Digest{w.old, w.new, w.old}, owners)
	if err != nil {
		t.Fatal(err)
	}
	files := func(n int) store.Amount { return store.Amount{Files: n, Bytes: int64(n) * 1000} }
	if u.Objects != files(3) || u.Trees != files(4) || u.Saved != 1000 || u.Boot.Files != 6 || len(u.Systems) != 2 {
		t.Errorf("usage %+v", u)
	}
	if want := w.shared.Size + w.second.Size; u.Images != (store.Amount{Files: 2, Bytes: want}) {
		t.Errorf("images %+v, want %d bytes", u.Images, want)
	}
	day := u.Systems[0].Configurations[0]
	if day.Objects != files(3) || day.Containers[0].Files != files(2) || day.Containers[0].Own != files(1) {
		t.Errorf("configuration %+v", day)
	}
	want := []store.OwnerUsage{{Owner: "", Amount: files(1)}, {Owner: "pkg-a", Amount: files(1)}, {Owner: "pkg-b", Amount: files(1)}}
	if !reflect.DeepEqual(u.Owners, want) {
		t.Errorf("owners %+v", u.Owners)
	}
}

func TestReadOnly(t *testing.T) {
	w := newWorld(t, open(t))
	ro, err := store.Open(w.s.Dir(), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ro.System(w.old); err != nil {
		t.Error(err)
	}
	if _, err := ro.Image(w.shared.Digest); err != nil {
		t.Error(err)
	}
	if r, err := ro.Verify(ctx, nil); err != nil || !r.OK() {
		t.Errorf("%+v, %v", r, err)
	}
	_, _, put := ro.Put(strings.NewReader("x"))
	for _, err := range []error{put, ro.Commit(), ro.SetRoot("r", w.old), ro.DeleteRoot("r"), ro.ExecuteGC(ctx, &store.GCPlan{})} {
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("writing to a read-only store: %v", err)
		}
	}
	if err := ro.Close(); err != nil {
		t.Error(err)
	}
	if _, err := store.Open(t.TempDir(), store.Options{ReadOnly: true}); err == nil {
		t.Error("opened a directory that is no store")
	}
}
