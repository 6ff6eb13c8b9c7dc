package main

import (
	"fmt"
	"os"
	"time"
)

// plugs tells whenever a device comes or goes.
func plugs(args []string) error {
	for was := ""; ; time.Sleep(100 * time.Millisecond) {
		now := "gone"
		if f, err := os.OpenFile(args[0], os.O_RDWR, 0); err == nil {
			f.Close()
			now = "there"
		}
		if now != was {
			fmt.Println(now, args[0])
			was = now
		}
	}
}
