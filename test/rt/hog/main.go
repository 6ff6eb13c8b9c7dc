// Command hog takes all of a machine that it can get: processors, memory, disk.
package main

import (
	"os"
	"runtime"
)

func main() {
	for range 2 * runtime.NumCPU() {
		go func() {
			for n := uint64(1); ; n = n*6364136223846793005 + 1442695040888963407 {
				if n == 0 {
					println("never")
				}
			}
		}()
	}
	go func() { // memory: every page of 16 MiB, again and again
		room := make([]byte, 16<<20)
		for {
			for i := 0; i < len(room); i += 4096 {
				room[i]++
			}
		}
	}()
	for { // files: written, and asked to last
		f, err := os.Create("/data/hog")
		if err != nil {
			panic(err)
		}
		f.Write(make([]byte, 1<<20))
		f.Sync()
		f.Close()
	}
}
