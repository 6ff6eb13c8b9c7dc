package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/instar-os/instar/internal/disk"
)

const (
	blockSize   = 4096
	inodeSize   = 256
	groupBlocks = 8 * blockSize // blocks a group: what one bitmap block maps
)

// mke2fsConfig replaces /etc/mke2fs.conf, so that every property of a file
// system is said here and nothing depends on the build host.
const mke2fsConfig = `[defaults]
	base_features = none
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384

[fs_types]
	ext4 = {
		blocksize = 4096
	}
	small = {
		blocksize = 4096
	}
	floppy = {
		blocksize = 4096
	}
`

// baseFeatures are those of both file systems. orphan_file and
// metadata_csum_seed are left out: nothing here needs them.
const baseFeatures = "none,has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize,filetype,dir_index,sparse_super,large_file,ext_attr"

// ext4 is a file system to be made by mke2fs in a file.
type ext4 struct {
	label    string
	seed     []byte // UUID and hash seed derive from it
	epoch    int64  // seconds since 1970: the time of everything
	features string // in addition to baseFeatures
	extended string // further -E options, with a comma in front
	journal  int64  // bytes
	inodes   int64
	path     string
	offset   int64                   // in the file, bytes
	size     int64                   // bytes
	fill     func(w io.Writer) error // writes a tar archive of the content; nil for none
}

// make runs mke2fs. The content comes as a tar archive through its standard
// input, so that owners and modes need no privilege and no copy is made.
func (e ext4) make(ctx context.Context, tool Tool) error {
	dir, err := os.MkdirTemp("", "instar-mke2fs-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := filepath.Join(dir, "mke2fs.conf")
	if err := os.WriteFile(conf, []byte(mke2fsConfig), 0o600); err != nil {
		return err
	}
	cmd := tool(ctx, "mke2fs", e.args()...)
	cmd.Env = append(cmd.Environ(), "MKE2FS_CONFIG="+conf, "SOURCE_DATE_EPOCH="+strconv.FormatInt(e.epoch, 10))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var fillErr error
	if e.fill != nil {
		fillErr = e.fill(stdin)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(out.String()))
	}
	if fillErr != nil {
		return fillErr
	}
	return e.normalize()
}

// normalize removes what mke2fs takes from the build host.
func (e ext4) normalize() error {
	f, err := os.OpenFile(e.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := setSignedHash(f, e.offset, e.size); err != nil {
		return err
	}
	return f.Close()
}

func (e ext4) args() []string {
	features := baseFeatures
	if e.features != "" {
		features += "," + e.features
	}
	args := []string{
		"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(blockSize), "-I", strconv.Itoa(inodeSize),
		"-N", strconv.FormatInt(e.inodes, 10), "-m", "0", "-L", e.label, "-O", features,
		"-U", disk.SeedGUID(e.seed, e.label+" file system").String(),
		"-J", "size=" + strconv.FormatInt(e.journal>>20, 10),
		"-E", "root_owner=0:0,nodiscard,lazy_itable_init=0,lazy_journal_init=0,hash_seed=" +
			disk.SeedGUID(e.seed, e.label+" hash seed").String() +
			",offset=" + strconv.FormatInt(e.offset, 10) + e.extended,
	}
	if e.fill != nil {
		args = append(args, "-d", "-")
	}
	return append(args, e.path, strconv.FormatInt(e.size>>10, 10)+"k")
}

// Properties of the data partition's file system as it begins. Inodes count
// per group of 128 MiB when it grows: one for 16 KiB.
const (
	dataSize    = 32 << 20
	dataJournal = 8 << 20
	dataInodes  = 8192
)

// DataTemplate makes the file system that a data partition begins with: empty,
// small and mostly zeros. init copies it to the partition, mounts it and grows
// it there with EXT4_IOC_RESIZE_FS: descriptors of new groups live in the groups
// themselves (meta_bg), so that any size can be reached. It counts, and limits
// when it is mounted so, what each volume occupies (project quotas). Who leaves out blocks
// of zeros when copying must know that the partition reads as zeros there.
func DataTemplate(ctx context.Context, tool Tool) ([]byte, error) {
	dir, err := os.MkdirTemp("", "instar-data-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	e := ext4{
		label: DataName, seed: []byte("instar data template 1"), epoch: 1, features: "meta_bg,quota,project", extended: ",quotatype=prjquota",
		journal: dataJournal, inodes: dataInodes, path: filepath.Join(dir, "data.ext4"), size: dataSize,
	}
	if err := os.WriteFile(e.path, nil, 0o600); err != nil {
		return nil, err
	}
	if err := e.make(ctx, tool); err != nil {
		return nil, fmt.Errorf("making the data partition's file system: %w", err)
	}
	return os.ReadFile(e.path)
}
