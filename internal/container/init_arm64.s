#include "textflag.h"

// The first process of a container with "init: true": see init.go. It holds back
// all signals, takes one after the other, passes them on to process 2, fetches
// the ends of its children, and ends as process 2 does. It uses no memory but
// its stack, and no address of its own.
//
//	0(RSP) all signals   8(RSP) status of a child   16(RSP) the name

// func initCode() unsafe.Pointer
TEXT ·initCode(SB),NOSPLIT|NOFRAME,$0-8
	MOVD	$initStart<>(SB), R0
	MOVD	R0, ret+0(FP)
	RET

TEXT initStart<>(SB),NOSPLIT|NOFRAME,$0-0
	SUB	$32, RSP
	MOVD	$-1, R0
	MOVD	R0, 0(RSP)
	MOVZ	$0x6e69, R0 // "init"
	MOVK	$(0x7469<<16), R0
	MOVD	R0, 16(RSP)
	MOVD	$15, R0 // PR_SET_NAME
	ADD	$16, RSP, R1
	MOVD	$167, R8 // prctl
	SVC
reap:
	MOVD	$-1, R0
	ADD	$8, RSP, R1
	MOVD	$1, R2 // WNOHANG
	MOVD	ZR, R3
	MOVD	$260, R8 // wait4
	SVC
	CMP	$2, R0
	BEQ	ended
	CMP	$0, R0
	BGT	reap
next:
	MOVD	RSP, R0
	MOVD	ZR, R1
	MOVD	ZR, R2
	MOVD	$8, R3
	MOVD	$137, R8 // rt_sigtimedwait
	SVC
	CMP	$17, R0 // SIGCHLD
	BEQ	reap
	CMP	$0, R0
	BLE	next
	MOVD	R0, R1
	MOVD	$2, R0
	MOVD	$129, R8 // kill
	SVC
	B	next
ended:
	MOVWU	8(RSP), R0
	AND	$0x7f, R0, R1 // the signal that ended it
	CBZ	R1, exited
	ADD	$128, R1, R0
	B	exit
exited:
	LSR	$8, R0, R0
	AND	$0xff, R0, R0
exit:
	MOVD	$94, R8 // exit_group
	SVC
	B	exit
	WORD	$0x74736e69 // the end: "instar-init end."
	WORD	$0x692d7261
	WORD	$0x2074696e
	WORD	$0x2e646e65
