// Package shell reads POSIX shell scripts into statements, as far as maintainer
// scripts use the language. It runs nothing.
//
// Source of the grammar: POSIX.1-2017, Shell Command Language, 2.10. Not read
// are arithmetic commands, arrays and other extensions of bash; a script that
// uses them is an error, never read as something else.
package shell

// Node is one statement: *Simple, *Pipeline, *List, *If, *Case, *Loop, *Func
// or *Group.
type Node interface{ node() }

// Simple is a command with its assignments and redirections. Words are as
// written, with quotes and expansions.
type Simple struct {
	Line    int
	Assigns []Assign
	Words   []string
	Redirs  []*Redir
}

// Assign is NAME=word.
type Assign struct{ Name, Word string }

// Redir is one redirection. Of a here-document, Word is the body, and Quoted
// says that nothing is expanded in it.
type Redir struct {
	FD     int    // -1: the operator's own default
	Op     string // < > >> <> >| <& >& << <<-
	Word   string
	Quoted bool
}

// Pipeline is "[!] cmd | cmd…".
type Pipeline struct {
	Not  bool
	Cmds []Node
}

// List is a sequence; Ops[i] stands after Items[i] and is ";", "&", "&&" or "||".
type List struct {
	Items []Node
	Ops   []string
}

// If is one if or elif with its else branch, which may be nil or another *If.
type If struct{ Cond, Then, Else Node }

// Case is a case statement.
type Case struct {
	Word string
	Arms []Arm
}

// Arm is one arm of a case: patterns and what is done.
type Arm struct {
	Patterns []string
	Body     Node
}

// Loop is for (Name set; Words nil means "$@"), while or until.
type Loop struct {
	Name  string
	Words []string
	In    bool // for: "in" was written
	Until bool
	Cond  Node // while and until
	Body  Node
}

// Func defines a function.
type Func struct {
	Name string
	Body Node
}

// Group is a brace group or a subshell, with redirections of its own. Compound
// statements with redirections are put in one.
type Group struct {
	Subshell bool
	Body     Node
	Redirs   []*Redir
}

func (*Simple) node()   {}
func (*Pipeline) node() {}
func (*List) node()     {}
func (*If) node()       {}
func (*Case) node()     {}
func (*Loop) node()     {}
func (*Func) node()     {}
func (*Group) node()    {}
