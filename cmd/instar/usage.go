package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/instar-os/instar/internal/store"
)

func printUsage(w io.Writer, u *store.Usage) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, s := range u.Systems {
		fmt.Fprintf(tw, "%s\t%s\tkernel and init\t%s\n", s.Machine, s.System.Short(), bytesText(s.Boot.Bytes))
		for _, c := range s.Configurations {
			fmt.Fprintf(tw, "\t%s\t%d files\t%s\n", c.Name, c.Objects.Files, bytesText(c.Objects.Bytes))
			for _, ct := range c.Containers {
				fmt.Fprintf(tw, "\t  %s\t%d files\t%s\t%s its own\n", ct.Name, ct.Files.Files, bytesText(ct.Files.Bytes), bytesText(ct.Own.Bytes))
			}
		}
	}
	fmt.Fprintf(tw, "all trees\t\t%d files\t%s\n", u.Trees.Files, bytesText(u.Trees.Bytes))
	fmt.Fprintf(tw, "kept once\t\t%d objects\t%s\n", u.Objects.Files, bytesText(u.Objects.Bytes))
	fmt.Fprintf(tw, "images\t\t%d\t%s\n", u.Images.Files, bytesText(u.Images.Bytes))
	fmt.Fprintf(tw, "sharing saves\t\t%s\t%s\n", percent(u.Saved, u.Trees.Bytes), bytesText(u.Saved))
	return tw.Flush()
}

func percent(part, whole int64) string {
	if whole == 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(whole))
}
