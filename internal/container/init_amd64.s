#include "textflag.h"

// The first process of a container with "init: true": see init.go. It holds back
// all signals, takes one after the other, passes them on to process 2, fetches
// the ends of its children, and ends as process 2 does. It uses no memory but
// its stack, and no address of its own.
//
//	0(SP) all signals   8(SP) status of a child   16(SP) the name

// func initCode() unsafe.Pointer
TEXT ·initCode(SB),NOSPLIT|NOFRAME,$0-8
	LEAQ	initStart<>(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT initStart<>(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ	$32, SP
	MOVQ	$-1, 0(SP)
	MOVQ	$0x74696e69, AX // "init"
	MOVQ	AX, 16(SP)
	MOVQ	$15, DI // PR_SET_NAME
	LEAQ	16(SP), SI
	MOVQ	$157, AX // prctl
	SYSCALL
reap:
	MOVQ	$-1, DI
	LEAQ	8(SP), SI
	MOVQ	$1, DX // WNOHANG
	XORL	R10, R10
	MOVQ	$61, AX // wait4
	SYSCALL
	CMPQ	AX, $2
	JEQ	ended
	TESTQ	AX, AX
	JGT	reap
next:
	LEAQ	0(SP), DI
	XORL	SI, SI
	XORL	DX, DX
	MOVQ	$8, R10
	MOVQ	$128, AX // rt_sigtimedwait
	SYSCALL
	CMPQ	AX, $17 // SIGCHLD
	JEQ	reap
	TESTQ	AX, AX
	JLE	next
	MOVQ	$2, DI
	MOVQ	AX, SI
	MOVQ	$62, AX // kill
	SYSCALL
	JMP	next
ended:
	MOVL	8(SP), DI
	MOVL	DI, AX
	ANDL	$0x7f, AX // the signal that ended it
	JEQ	exited
	LEAL	128(AX), DI
	JMP	exit
exited:
	SHRL	$8, DI
	ANDL	$0xff, DI
exit:
	MOVQ	$231, AX // exit_group
	SYSCALL
	JMP	exit
	LONG	$0x74736e69 // the end: "instar-init end."
	LONG	$0x692d7261
	LONG	$0x2074696e
	LONG	$0x2e646e65
