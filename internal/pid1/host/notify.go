package host

import (
	"errors"
	"fmt"
	"net"
)

// Notify tells systemd the state of this service on the socket that it has
// given as NOTIFY_SOCKET: sd_notify(3). With "" nothing is told.
func Notify(path, state string) error {
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		return fmt.Errorf("telling systemd the service's state: %w", err)
	}
	return nil
}
