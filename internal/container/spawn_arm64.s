#include "textflag.h"

// The child of spawn shares the parent's memory and its stack, and with or
// without CLONE_VFORK the stack is the parent's. It uses registers only, never
// calls and never returns: it walks the table of operations, 64 bytes each (type
// operation), and does their calls.
//
//	R19 operation   R20 slots   R21 index   R22 report   R23 number of operations

// func spawn(args *cloneArgs, size uintptr, ops *operation, n uintptr, slots *uintptr, rep *report) (pid, errno uintptr)
TEXT ·spawn(SB),NOSPLIT|NOFRAME,$0-64
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	ops+16(FP), R19
	MOVD	n+24(FP), R23
	MOVD	slots+32(FP), R20
	MOVD	rep+40(FP), R22
	MOVD	ZR, R21
	MOVD	$435, R8 // clone3
	SVC
	CBZ	R0, next
	CMN	$4095, R0
	BCS	refused
	MOVD	R0, pid+48(FP)
	MOVD	ZR, errno+56(FP)
	RET
refused:
	NEG	R0, R0
	MOVD	ZR, pid+48(FP)
	MOVD	R0, errno+56(FP)
	RET

next:
	CMP	R23, R21
	BHS	end
	MOVD	R21, 0(R22)
	MOVD	0(R19), R8
	MOVD	8(R19), R9
	MOVD	16(R19), R0
	MOVD	24(R19), R1
	MOVD	32(R19), R2
	MOVD	40(R19), R3
	MOVD	48(R19), R4
	MOVD	56(R19), R5
	TBZ	$0, R9, second // arguments that name a slot
	MOVD	(R20)(R0<<3), R0
second:
	TBZ	$1, R9, third
	MOVD	(R20)(R1<<3), R1
third:
	TBZ	$2, R9, fourth
	MOVD	(R20)(R2<<3), R2
fourth:
	TBZ	$3, R9, fifth
	MOVD	(R20)(R3<<3), R3
fifth:
	TBZ	$4, R9, sixth
	MOVD	(R20)(R4<<3), R4
sixth:
	TBZ	$5, R9, call
	MOVD	(R20)(R5<<3), R5
call:
	SVC
	MOVD	8(R19), R9
	CMN	$4095, R0
	BCS	failed
	TBNZ	$6, R9, cloned // clone
	LSR	$8, R9, R9
	AND	$0xff, R9, R9
	MOVD	R0, (R20)(R9<<3)
advance:
	ADD	$64, R19
	ADD	$1, R21
	B	next
cloned:
	CBZ	R0, advance // the new process
	LSR	$32, R9, R9 // the operation behind its last one
	SUB	$1, R9, R10
	MOVD	0(R22), R11
	CMP	R10, R11
	BNE	lost
	MOVD	8(R22), R11
	CBNZ	R11, lost
	SUB	R21, R9, R10
	LSL	$6, R10, R10
	ADD	R10, R19, R19
	MOVD	R9, R21
	B	next
failed:
	NEG	R0, R0
	LSR	$16, R9, R9 // the error that is tolerated
	AND	$0xfff, R9, R9
	CMP	R9, R0
	BEQ	advance
	MOVD	R0, 8(R22)
lost:
	MOVD	$127, R0
	B	exit
end:
	MOVD	R21, 0(R22)
	MOVD	ZR, R0
exit:
	MOVD	$94, R8 // exit_group
	SVC
	BRK
	B	exit
