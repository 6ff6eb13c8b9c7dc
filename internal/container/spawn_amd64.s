#include "textflag.h"

// The child of spawn shares the parent's memory and its stack, and with or
// without CLONE_VFORK the stack is the parent's. It uses registers only, never
// calls and never returns: it walks the table of operations, 64 bytes each (type
// operation), and does their calls.
//
//	R12 operation   R13 slots   R14 index   R15 report   BX number of operations

// func spawn(args *cloneArgs, size uintptr, ops *operation, n uintptr, slots *uintptr, rep *report) (pid, errno uintptr)
TEXT ·spawn(SB),NOSPLIT|NOFRAME,$0-64
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	ops+16(FP), R12
	MOVQ	n+24(FP), BX
	MOVQ	slots+32(FP), R13
	MOVQ	rep+40(FP), R15
	XORL	R14, R14
	MOVQ	$435, AX // clone3
	SYSCALL
	TESTQ	AX, AX
	JEQ	next
	CMPQ	AX, $0xfffffffffffff001
	JCC	refused
	MOVQ	AX, pid+48(FP)
	MOVQ	$0, errno+56(FP)
	RET
refused:
	NEGQ	AX
	MOVQ	$0, pid+48(FP)
	MOVQ	AX, errno+56(FP)
	RET

next:
	CMPQ	R14, BX
	JCC	end
	MOVQ	R14, 0(R15)
	MOVQ	0(R12), AX
	MOVQ	8(R12), CX
	MOVQ	16(R12), DI
	MOVQ	24(R12), SI
	MOVQ	32(R12), DX
	MOVQ	40(R12), R10
	MOVQ	48(R12), R8
	MOVQ	56(R12), R9
	BTQ	$0, CX // arguments that name a slot
	JCC	second
	MOVQ	(R13)(DI*8), DI
second:
	BTQ	$1, CX
	JCC	third
	MOVQ	(R13)(SI*8), SI
third:
	BTQ	$2, CX
	JCC	fourth
	MOVQ	(R13)(DX*8), DX
fourth:
	BTQ	$3, CX
	JCC	fifth
	MOVQ	(R13)(R10*8), R10
fifth:
	BTQ	$4, CX
	JCC	sixth
	MOVQ	(R13)(R8*8), R8
sixth:
	BTQ	$5, CX
	JCC	call
	MOVQ	(R13)(R9*8), R9
call:
	SYSCALL
	MOVQ	8(R12), CX
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	BTQ	$6, CX // clone
	JCS	cloned
	SHRQ	$8, CX
	ANDQ	$0xff, CX
	MOVQ	AX, (R13)(CX*8)
advance:
	ADDQ	$64, R12
	INCQ	R14
	JMP	next
cloned:
	TESTQ	AX, AX
	JEQ	advance // the new process
	SHRQ	$32, CX // the operation behind its last one
	LEAQ	-1(CX), DX
	CMPQ	DX, 0(R15)
	JNE	lost
	CMPQ	8(R15), $0
	JNE	lost
	MOVQ	CX, DX
	SUBQ	R14, DX
	SHLQ	$6, DX
	ADDQ	DX, R12
	MOVQ	CX, R14
	JMP	next
failed:
	NEGQ	AX
	SHRQ	$16, CX // the error that is tolerated
	ANDQ	$0xfff, CX
	CMPQ	AX, CX
	JEQ	advance
	MOVQ	AX, 8(R15)
lost:
	MOVQ	$127, DI
	JMP	exit
end:
	MOVQ	R14, 0(R15)
	XORL	DI, DI
exit:
	MOVQ	$231, AX // exit_group
	SYSCALL
	INT	$3
	JMP	exit
