package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"golang.org/x/sys/unix"

	"github.com/instar-os/instar/internal/durable"
	"github.com/instar-os/instar/internal/source/deb"
	"github.com/instar-os/instar/internal/vm"
	"github.com/instar-os/instar/internal/wire"
)

// finding is one line of doctor.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Needed string `json:"needed"` // the commands that need it
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

func doctorCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check what this host offers to instar",
		Long:  "Checks cache, store, archive address, kernel, rights and virtualisation, and says what to do about what is missing. Exits with 1 when building is not possible.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			all := a.examine()
			if err := a.print(all, func(w io.Writer) error { return printFindings(w, all) }); err != nil {
				return err
			}
			for _, f := range all {
				if !f.OK && f.Needed == "build" {
					return exitCode(1)
				}
			}
			return nil
		},
	}
}

func printFindings(w io.Writer, all []finding) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range all {
		mark := "ok"
		if !f.OK {
			mark = "MISSING"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", mark, f.Check, f.Needed, f.Detail)
		if !f.OK && f.Remedy != "" {
			fmt.Fprintf(tw, "\t\t\tremedy: %s\n", f.Remedy)
		}
	}
	return tw.Flush()
}

func (a *app) examine() []finding {
	return []finding{
		a.checkCache(), a.checkInit(), checkArchive(), checkRelease(), checkRoot(), checkErofs(), checkKVM(),
	}
}

func (a *app) checkCache() finding {
	f := finding{Check: "cache", Needed: "build", Detail: a.cacheDir, Remedy: "set INSTAR_CACHE to a directory that you can write"}
	if err := os.MkdirAll(a.cacheDir, 0o755); err != nil {
		f.Detail = err.Error()
		return f
	}
	var st unix.Statfs_t
	if err := unix.Statfs(a.cacheDir, &st); err != nil {
		f.Detail = err.Error()
		return f
	}
	free := int64(st.Bavail) * st.Bsize
	f.OK = free > 2<<30 && unix.Access(a.cacheDir, unix.W_OK) == nil
	f.Detail += ", " + bytesText(free) + " free"
	return f
}

func (a *app) checkInit() finding {
	f := finding{Check: "instar-init", Needed: "build", Remedy: "make build (ARCH=arm64 make build for the other architecture)"}
	var have []string
	for _, arch := range []string{"amd64", "arm64"} {
		if _, err := initBinary(arch); err == nil {
			have = append(have, arch)
		}
	}
	f.OK, f.Detail = len(have) > 0, "for "+strings.Join(have, ", ")
	return f
}

func checkArchive() finding {
	f := finding{Check: "archive", Needed: "lock", Remedy: "set INSTAR_DEBIAN_ARCHIVE to the address of a Debian archive"}
	at, err := deb.Address("debian", hostConfig())
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	f.OK, f.Detail = true, at
	return f
}

func checkRelease() finding {
	var u unix.Utsname
	f := finding{Check: "kernel", Needed: "run", Remedy: "instar run mounts images from files, which Linux can since 6.12; instar vm works with any kernel"}
	if err := unix.Uname(&u); err != nil {
		f.Detail = err.Error()
		return f
	}
	f.Detail = unix.ByteSliceToString(u.Release[:])
	var major, minor int
	_, err := fmt.Sscanf(f.Detail, "%d.%d", &major, &minor)
	f.OK = err == nil && (major > 6 || major == 6 && minor >= 12)
	return f
}

func checkRoot() finding {
	return finding{Check: "root", Needed: "run", OK: os.Getuid() == 0, Detail: fmt.Sprintf("uid %d", os.Getuid()), Remedy: "instar run needs root; instar build, image and vm do not"}
}

func checkErofs() finding {
	text, err := os.ReadFile("/proc/filesystems")
	ok := err == nil && bytes.Contains(text, []byte("\terofs\n")) && bytes.Contains(text, []byte("\toverlay\n"))
	return finding{Check: "erofs, overlay", Needed: "run", OK: ok, Detail: "/proc/filesystems", Remedy: "modprobe erofs overlay"}
}

func checkKVM() finding {
	f := finding{Check: "kvm", Needed: "vm (speed)", OK: vm.HasKVM(runtime.GOARCH), Detail: "usable", Remedy: "virtual machines run by emulation: some ten times slower, else the same"}
	if !f.OK {
		f.Detail = "/dev/kvm makes no virtual machine"
	}
	return f
}

func supportCommand(a *app) *cobra.Command {
	var control, to string
	cmd := &cobra.Command{
		Use:   "support",
		Short: "Collect what a bug report needs",
		Long:  "Writes an archive with doctor's findings, the definition, the lock, and status and logs of the machine when it runs. It holds nothing of the store and no environment variables; read it before you pass it on.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := a.supportFiles(cmd, control)
			if err != nil {
				return err
			}
			packed, err := packFiles(files)
			if err != nil {
				return err
			}
			if err := durable.WriteFile(to, 0o600, packed); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s: %d files, %s\n", to, len(files), bytesText(int64(len(packed))))
			return err
		},
	}
	controlFlag(cmd, &control)
	cmd.Flags().StringVar(&to, "to", "instar-support.tar.gz", "file to write")
	return cmd
}

func (a *app) supportFiles(cmd *cobra.Command, control string) ([]newFile, error) {
	findings, err := json.MarshalIndent(a.examine(), "", "  ")
	if err != nil {
		return nil, err
	}
	files := []newFile{
		{"version.txt", fmt.Appendf(nil, "instar %s, %s, %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)},
		{"doctor.json", findings},
	}
	for _, p := range []string{a.file, a.lockPath()} {
		if text, err := os.ReadFile(p); err == nil {
			files = append(files, newFile{filepath.Base(p), text})
		}
	}
	c, err := a.connect(cmd.Context(), control)
	if errors.Is(err, errNotRunning) {
		return files, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	st, err := c.Status(cmd.Context())
	if err != nil {
		return nil, err
	}
	status, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return nil, err
	}
	lines, err := c.Logs(cmd.Context(), wire.LogsRequest{})
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for _, l := range lines.Lines {
		fmt.Fprintf(&text, "%s %s %s: %s\n", l.Time.Format(time.RFC3339Nano), l.Container, l.Stream, l.Text)
	}
	return append(files, newFile{"status.json", status}, newFile{"logs.txt", text.Bytes()}), nil
}

func packFiles(files []newFile) ([]byte, error) {
	var out bytes.Buffer
	gz := gzip.NewWriter(&out)
	tw := tar.NewWriter(gz)
	for _, f := range files {
		if err := tw.WriteHeader(&tar.Header{Name: "instar-support/" + f.path, Mode: 0o600, Size: int64(len(f.text))}); err != nil {
			return nil, err
		}
		if _, err := tw.Write(f.text); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	if err := gz.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func manCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages into a directory",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			when := time.Unix(0, 0).UTC()
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Source: "instar " + version, Manual: "instar", Date: &when}, args[0])
		},
	}
}
