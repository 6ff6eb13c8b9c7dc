package logs

import "bytes"

// A splitter makes lines of what is written to it. It is used by one writer.
type splitter struct {
	line func(string)
	rest []byte
}

// Write implements io.Writer; it never fails.
func (s *splitter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := MaxLine - len(s.rest); len(part) > room {
			s.rest = append(s.rest, part[:room]...)
			s.flush()
			p = p[room:]
			continue
		}
		s.rest = append(s.rest, part...)
		if end < 0 {
			return n, nil
		}
		s.flush()
		p = p[end+1:]
	}
	return n, nil
}

func (s *splitter) flush() {
	s.line(string(bytes.TrimSuffix(s.rest, []byte("\r"))))
	s.rest = s.rest[:0]
}

// Close ends the last line.
func (s *splitter) Close() error {
	if len(s.rest) > 0 {
		s.flush()
	}
	return nil
}
