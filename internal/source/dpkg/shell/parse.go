package shell

import (
	"strconv"
	"strings"
)

// maxDepth is how deep statements may nest.
const maxDepth = 60

// Parse reads a script.
func Parse(script string) (*List, error) {
	p := &parser{lex: lexer{s: script, line: 1}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEOF {
		return nil, p.unexpected()
	}
	return list, nil
}

type parser struct {
	lex   lexer
	tok   token
	depth int
}

func (p *parser) advance() (err error) {
	p.tok, err = p.lex.next()
	return err
}

func (p *parser) unexpected() error {
	p.lex.line = p.tok.line
	if p.tok.kind == tokEOF {
		return p.lex.errorf("the script ends too early")
	}
	return p.lex.errorf("unexpected %q", p.tok.text)
}

func (p *parser) is(kind int, text string) bool { return p.tok.kind == kind && p.tok.text == text }

// expect passes a reserved word or operator.
func (p *parser) expect(kind int, text string) error {
	if !p.is(kind, text) {
		return p.unexpected()
	}
	return p.advance()
}

func (p *parser) newlines() error {
	for p.is(tokOp, "\n") {
		if err := p.advance(); err != nil {
			return err
		}
	}
	return nil
}

// closers end a list when they stand where a command would.
var closers = map[string]bool{"then": true, "else": true, "elif": true, "fi": true, "do": true, "done": true, "esac": true, "}": true}

func (p *parser) atEnd() bool {
	return p.tok.kind == tokEOF || p.is(tokOp, ")") || p.is(tokOp, ";;") || p.tok.kind == tokWord && closers[p.tok.text]
}

// list reads statements up to a closing word.
func (p *parser) list() (*List, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.lex.errorf("statements nest more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	l := &List{}
	for {
		if err := p.newlines(); err != nil {
			return nil, err
		}
		if p.atEnd() {
			return l, nil
		}
		n, err := p.pipeline()
		if err != nil {
			return nil, err
		}
		op := ";"
		if p.tok.kind == tokOp && (p.tok.text == ";" || p.tok.text == "&" || p.tok.text == "&&" || p.tok.text == "||") {
			op = p.tok.text
		} else if !p.is(tokOp, "\n") && !p.atEnd() {
			return nil, p.unexpected()
		}
		l.Items, l.Ops = append(l.Items, n), append(l.Ops, op)
		if p.tok.kind == tokOp && p.tok.text == op {
			if err := p.advance(); err != nil {
				return nil, err
			}
		}
		if op == "&&" || op == "||" {
			if err := p.newlines(); err != nil {
				return nil, err
			}
			if p.atEnd() {
				return nil, p.unexpected()
			}
		}
	}
}

func (p *parser) pipeline() (Node, error) {
	pl := &Pipeline{}
	for p.is(tokWord, "!") {
		pl.Not = !pl.Not
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	for {
		n, err := p.command()
		if err != nil {
			return nil, err
		}
		pl.Cmds = append(pl.Cmds, n)
		if !p.is(tokOp, "|") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.newlines(); err != nil {
			return nil, err
		}
	}
	if len(pl.Cmds) == 1 && !pl.Not {
		return pl.Cmds[0], nil
	}
	return pl, nil
}

func (p *parser) command() (Node, error) {
	var n Node
	var err error
	switch {
	case p.is(tokOp, "("):
		n, err = p.group(")", true)
	case p.tok.kind != tokWord:
		return p.simple()
	case p.tok.text == "{":
		n, err = p.group("}", false)
	case p.tok.text == "if":
		n, err = p.ifClause()
	case p.tok.text == "case":
		n, err = p.caseClause()
	case p.tok.text == "for":
		n, err = p.forClause()
	case p.tok.text == "while" || p.tok.text == "until":
		n, err = p.whileClause()
	case closers[p.tok.text] || p.tok.text == "function" || p.tok.text == "[[":
		return nil, p.unexpected()
	default:
		return p.simple()
	}
	if err != nil {
		return nil, err
	}
	redirs, err := p.redirs()
	if err != nil || len(redirs) == 0 {
		return n, err
	}
	return &Group{Body: n, Redirs: redirs}, nil
}

func (p *parser) group(end string, sub bool) (Node, error) {
	body, err := p.block()
	if err != nil {
		return nil, err
	}
	kind := tokWord
	if sub {
		kind = tokOp
	}
	return &Group{Subshell: sub, Body: body}, p.expect(kind, end)
}

// block passes the current token and reads a list.
func (p *parser) block() (*List, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	return p.list()
}

func (p *parser) ifClause() (Node, error) {
	n := &If{}
	var err error
	if n.Cond, err = p.block(); err != nil {
		return nil, err
	}
	if !p.is(tokWord, "then") {
		return nil, p.unexpected()
	}
	if n.Then, err = p.block(); err != nil {
		return nil, err
	}
	switch {
	case p.is(tokWord, "elif"):
		if p.depth++; p.depth > maxDepth {
			return nil, p.unexpected()
		}
		n.Else, err = p.ifClause()
		p.depth--
		return n, err
	case p.is(tokWord, "else"):
		if n.Else, err = p.block(); err != nil {
			return nil, err
		}
	}
	return n, p.expect(tokWord, "fi")
}

func (p *parser) whileClause() (Node, error) {
	n := &Loop{Until: p.tok.text == "until"}
	var err error
	if n.Cond, err = p.block(); err != nil {
		return nil, err
	}
	n.Body, err = p.doGroup()
	return n, err
}

func (p *parser) doGroup() (Node, error) {
	if !p.is(tokWord, "do") {
		return nil, p.unexpected()
	}
	body, err := p.block()
	if err != nil {
		return nil, err
	}
	return body, p.expect(tokWord, "done")
}

func (p *parser) forClause() (Node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n := &Loop{Name: p.tok.text}
	if p.tok.kind != tokWord || !isName(n.Name) {
		return nil, p.unexpected()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.newlines(); err != nil {
		return nil, err
	}
	if p.is(tokWord, "in") {
		n.In = true
		for {
			if err := p.advance(); err != nil {
				return nil, err
			}
			if p.tok.kind != tokWord {
				break
			}
			n.Words = append(n.Words, p.tok.text)
		}
	}
	if p.is(tokOp, ";") {
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if err := p.newlines(); err != nil {
		return nil, err
	}
	var err error
	n.Body, err = p.doGroup()
	return n, err
}

func (p *parser) caseClause() (Node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	n := &Case{Word: p.tok.text}
	if err := p.expect(tokWord, n.Word); err != nil {
		return nil, err
	}
	if err := p.newlines(); err != nil {
		return nil, err
	}
	if err := p.expect(tokWord, "in"); err != nil {
		return nil, err
	}
	for {
		if err := p.newlines(); err != nil {
			return nil, err
		}
		if p.is(tokWord, "esac") {
			return n, p.advance()
		}
		arm, err := p.arm()
		if err != nil {
			return nil, err
		}
		n.Arms = append(n.Arms, arm)
		if p.is(tokOp, ";;") {
			err = p.advance()
		} else if !p.is(tokWord, "esac") {
			err = p.unexpected()
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) arm() (Arm, error) {
	var arm Arm
	if p.is(tokOp, "(") {
		if err := p.advance(); err != nil {
			return arm, err
		}
	}
	for {
		if p.tok.kind != tokWord {
			return arm, p.unexpected()
		}
		arm.Patterns = append(arm.Patterns, p.tok.text)
		if err := p.advance(); err != nil {
			return arm, err
		}
		if !p.is(tokOp, "|") {
			break
		}
		if err := p.advance(); err != nil {
			return arm, err
		}
	}
	if !p.is(tokOp, ")") {
		return arm, p.unexpected()
	}
	body, err := p.block()
	arm.Body = body
	return arm, err
}

// simple reads assignments, words and redirections, or a function definition.
func (p *parser) simple() (Node, error) {
	s := &Simple{Line: p.tok.line}
	for {
		redirs, err := p.redirs()
		if err != nil {
			return nil, err
		}
		s.Redirs = append(s.Redirs, redirs...)
		if p.tok.kind != tokWord {
			break
		}
		w := p.tok.text
		if err := p.advance(); err != nil {
			return nil, err
		}
		if len(s.Words) == 0 && len(s.Assigns) == 0 && p.is(tokOp, "(") {
			return p.function(w)
		}
		name, value, ok := strings.Cut(w, "=")
		if ok && len(s.Words) == 0 && isName(name) {
			s.Assigns = append(s.Assigns, Assign{name, value})
			continue
		}
		s.Words = append(s.Words, w)
	}
	if len(s.Words) == 0 && len(s.Assigns) == 0 && len(s.Redirs) == 0 {
		return nil, p.unexpected()
	}
	return s, nil
}

func (p *parser) function(name string) (Node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect(tokOp, ")"); err != nil {
		return nil, err
	}
	if err := p.newlines(); err != nil {
		return nil, err
	}
	if p.depth++; p.depth > maxDepth {
		return nil, p.unexpected()
	}
	body, err := p.command()
	p.depth--
	return &Func{Name: name, Body: body}, err
}

// redirs reads the redirections that stand here.
func (p *parser) redirs() ([]*Redir, error) {
	var all []*Redir
	for {
		fd := -1
		if p.tok.kind == tokWord && len(p.tok.text) == 1 && p.lex.at < len(p.lex.s) && strings.ContainsRune("<>", rune(p.lex.s[p.lex.at])) {
			if n, err := strconv.Atoi(p.tok.text); err == nil {
				fd = n
				if err := p.advance(); err != nil {
					return nil, err
				}
			}
		}
		if p.tok.kind != tokOp || !strings.ContainsAny(p.tok.text, "<>") {
			break
		}
		r := &Redir{FD: fd, Op: p.tok.text}
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokWord {
			return nil, p.unexpected()
		}
		r.Word = p.tok.text
		if strings.HasPrefix(r.Op, "<<") {
			p.lex.pending = append(p.lex.pending, r)
		}
		all = append(all, r)
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
