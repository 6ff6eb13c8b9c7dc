package main

import (
	"errors"

	"github.com/instar-os/instar/internal/assemble"
	"github.com/instar-os/instar/internal/lock"
	"github.com/instar-os/instar/internal/source/fetch"
)

// hintFor returns what to do about an error, "" when there is nothing to say.
func hintFor(err error) string {
	var unexplained *assemble.Unexplained
	var gone *fetch.NotFound
	var missing *fetch.Missing
	var stale *lock.StaleError
	switch {
	case errors.Is(err, errNoLock):
		return "run instar lock"
	case errors.As(err, &stale):
		return "run instar lock"
	case errors.As(err, &gone):
		return "the archive has moved on: run instar lock --update, or set INSTAR_DEBIAN_ARCHIVE to an archive that keeps old versions"
	case errors.As(err, &missing):
		return "run once without --offline, or use a directory made by instar vendor"
	case errors.As(err, &unexplained):
		return "read the scripts; when a tree does not need what they do, list the packages in its \"accept\""
	case errors.Is(err, errNeedsReboot):
		return "instar switch --reboot boots it now and from now on, --once for one boot"
	case errors.Is(err, errNotRunning):
		return "start it with instar vm or instar run"
	}
	return ""
}
