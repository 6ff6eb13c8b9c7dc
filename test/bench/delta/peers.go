package main

// peer is another tool: how it writes its difference of the trees old and new
// below the working directory, where that is then, and how it is applied.
type peer struct{ name, tool, encode, apply, out string }

// tars makes one sorted archive of each tree, once.
const tars = `for t in old new; do [ -f $t.tar ] || tar --sort=name --mtime=@0 --owner=0 --group=0 -cf $t.tar -C $t .; done; `

var peers = []peer{
	{"xdelta3", "xdelta3",
		tars + `xdelta3 -9 -f -B 1073741824 -e -s old.tar new.tar x.xdelta`,
		`xdelta3 -f -d -B 1073741824 -s old.tar x.xdelta x.out && cmp x.out new.tar && rm x.out`, "x.xdelta"},
	{"zstd", "zstd",
		tars + `zstd -qf --ultra -22 --long=31 --patch-from=old.tar new.tar -o z.zst`,
		`zstd -qdf --long=31 --patch-from=old.tar z.zst -o z.out && cmp z.out new.tar && rm z.out`, "z.zst"},
	{"rdiff", "rdiff",
		tars + `rdiff -f -b 1024 signature old.tar r.sig && rdiff -f delta r.sig new.tar r.raw && zstd -qf --ultra -19 --long=27 r.raw -o r.zst`,
		`zstd -qdf r.zst -o r.raw && rdiff -f patch old.tar r.raw r.out && cmp r.out new.tar && rm r.out r.raw`, "r.zst"},
	{"casync", "casync",
		`rm -rf c.old c.new; casync make --store=c.old o.caidx old >/dev/null; cp -r c.old c.all; casync make --store=c.all n.caidx new >/dev/null; ` +
			`mkdir c.new; (cd c.all; find . -type f | sort) >c.a; (cd c.old; find . -type f | sort) >c.o; comm -23 c.a c.o | while read f; do cp c.all/$f c.new/; done`,
		`rm -rf c.out; casync extract --store=c.all n.caidx c.out && rm -rf c.out`, "c.new"},
	{"zchunk", "zck",
		tars + `zck -o old.zck old.tar && zck -o new.zck new.tar && truncate -s $(zck_delta_size old.zck new.zck | sed -n 's/^Would download \([0-9]*\) .*/\1/p') k.delta`,
		`mkdir -p k.out && cd k.out && unzck ../new.zck && cmp new ../new.tar && rm new`, "k.delta"},
	{"hdiffpatch", "hdiffz",
		`hdiffz -f -c-lzma2-9-64m -p-2 old new h.diff >/dev/null`, `rm -rf h.out; hpatchz -f old h.diff h.out >/dev/null && rm -rf h.out`, "h.diff"},
	{"bsdiff", "bsdiff",
		`mkdir -p b; python3 -c '
import json,subprocess
for i,c in enumerate(json.load(open("changes"))): subprocess.check_call(["bsdiff",c["Old"] or "/dev/null",c["New"],"b/%d"%i])'`,
		`python3 -c '
import json,subprocess
for i,c in enumerate(json.load(open("changes"))): subprocess.check_call(["bspatch",c["Old"] or "/dev/null","b.out","b/%d"%i])'`, "b"},
	{"ostree", "ostree",
		`rm -rf os os2; ostree init --repo=os --mode=bare-user-only; ` +
			`a=$(ostree commit --repo=os -b x --tree=dir=old --canonical-permissions); b=$(ostree commit --repo=os -b x --tree=dir=new --canonical-permissions); ` +
			`ostree init --repo=os2 --mode=bare-user-only; ostree pull-local --repo=os2 os $a; ` +
			`ostree static-delta generate --repo=os --from=$a --to=$b --inline --min-fallback-size=0 --filename=os.delta`,
		`ostree static-delta apply-offline --repo=os2 os.delta`, "os.delta"},
}
