package bpf

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the scheduler's programs anew")

// TestSchedCode holds that sched_code.go is what this file assembles. It is
// assembled here, not on the device, whose first process has to be small.
func TestSchedCode(t *testing.T) {
	var b strings.Builder
	b.WriteString("package bpf\n\n// The scheduler's programs, written by go test ./internal/bpf -update from\n// sched_program_test.go: 64 bits an instruction, in hexadecimal digits.\nconst (\n")
	for i, p := range []struct {
		name string
		code []byte
	}{{"wakingCode", wakingProgram(newProgram())}, {"switchCode", switchProgram(newProgram())}} {
		text := hex.EncodeToString(p.code)
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "\t%s = \"\" +\n", p.name)
		for len(text) > 0 {
			n := min(len(text), 128)
			end := " +"
			if n == len(text) {
				end = ""
			}
			fmt.Fprintf(&b, "\t\t%q%s\n", text[:n], end)
			text = text[n:]
		}
	}
	b.WriteString(")\n")
	const name = "sched_code.go"
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what is assembled (%v); go test ./internal/bpf -update writes it", name, err)
	}
}

// Further operation codes, registers and helpers of the scheduler's programs.
const (
	load64      = 0x79 // dst = *(u64 *)(src + off)
	store64     = 0x7b // *(u64 *)(dst + off) = src
	storeZero64 = 0x7a // *(u64 *)(dst + off) = imm
	move32      = 0xbc // dst = (u32) src
	add         = 0x0f
	sub         = 0x1f
	div         = 0x3f
	shiftLeft   = 0x67
	rightConst  = 0x77
	jump        = 0x05
	jumpUnless  = 0x55 // if dst != imm
	jumpLess    = 0xad // if dst < src, unsigned
	jumpLessEq  = 0xbd // if dst <= src, unsigned
	jumpSmall   = 0xa5 // if dst < imm, unsigned
	jumpSet     = 0x45 // if dst & imm

	r8 = 8
	r9 = 9

	timeHelper = 5   // bpf_ktime_get_ns
	cpuHelper  = 8   // bpf_get_smp_processor_id
	ringHelper = 130 // bpf_ringbuf_output
)

// An event on the ring.
const (
	eventThread   = -40 // on the stack; u32
	eventKind     = -36 // u32
	eventWake     = -32
	eventResponse = -24
	eventExec     = -16
	stackBound    = -48
	stackKey      = -8
	stackSlot     = -4
)

// program assembles one of the scheduler's programs: r6 is the context, r7 the
// time, r8 a thread's number, r9 its value.
type program struct {
	*assembler
	labels int
}

func newProgram() *program {
	return &program{&assembler{labels: map[string]int{}, jumps: map[int]string{}}, 0}
}

// mapAddress loads a map.
func (p *program) mapAddress(dst byte, fd int32) {
	p.do(loadImm64, dst, pseudoMapFD, 0, fd)
	p.do(0, 0, 0, 0, 0)
}

// find leaves the value of a thread in r9 and the time in r7, or goes to a label
// when it is no task. argument is the thread's place in the context.
func (p *program) find(argument int16, otherwise string) {
	p.do(load64, r8, r6, argument, 0)
	p.do(loadWord, r8, r8, pidOffset, 0)
	p.do(move, r1, r8, 0, 0)
	p.do(andConst, r1, 0, 0, filterSlots-1)
	p.do(storeWord, r10, r1, stackSlot, 0)
	p.do(move, r2, r10, 0, 0)
	p.do(addConst, r2, 0, 0, stackSlot)
	p.mapAddress(r1, filterMap)
	p.do(callHelper, 0, 0, 0, lookupHelper)
	p.jump(jumpIfConst, r0, 0, 0, otherwise)
	p.do(loadWord, r1, r0, 0, 0)
	p.jump(jumpIfConst, r1, 0, 0, otherwise)
	p.do(storeWord, r10, r8, stackKey, 0)
	p.do(move, r2, r10, 0, 0)
	p.do(addConst, r2, 0, 0, stackKey)
	p.mapAddress(r1, tasksMap)
	p.do(callHelper, 0, 0, 0, lookupHelper)
	p.jump(jumpIfConst, r0, 0, 0, otherwise)
	p.do(move, r9, r0, 0, 0)
	p.do(callHelper, 0, 0, 0, timeHelper)
	p.do(move, r7, r0, 0, 0)
}

func (p *program) fresh(name string) string {
	p.labels++
	return name + string(rune('0'+p.labels/10)) + string(rune('0'+p.labels%10))
}

// increment adds one to a number of the value.
func (p *program) increment(at int16) {
	p.do(load64, r1, r9, at, 0)
	p.do(addConst, r1, 0, 0, 1)
	p.do(store64, r9, r1, at, 0)
}

// note adds r1 to a sum, when there is one, and raises a maximum to it. r1 stays.
func (p *program) note(sum, most int16) {
	if sum != 0 {
		p.do(load64, r2, r9, sum, 0)
		p.do(add, r2, r1, 0, 0)
		p.do(store64, r9, r2, sum, 0)
	}
	lower := p.fresh("lower")
	p.do(load64, r2, r9, most, 0)
	p.jump(jumpLessEq, r1, r2, 0, lower)
	p.do(store64, r9, r1, most, 0)
	p.label(lower)
}

// count adds one to bucket r2 of a histogram; r2 is known to be within it.
func (p *program) count(histogram int16) {
	p.do(shiftLeft, r2, 0, 0, 2)
	p.do(move, r3, r9, 0, 0)
	p.do(add, r3, r2, 0, 0)
	p.do(loadWord, r1, r3, histogram, 0)
	p.do(addConst, r1, 0, 0, 1)
	p.do(storeWord, r3, r1, histogram, 0)
}

// power counts r1 by its power of two.
func (p *program) power(histogram int16) {
	below := p.fresh("below")
	p.do(moveConst, r2, 0, 0, 0)
	p.do(move, r3, r1, 0, 0)
	p.do(rightConst, r3, 0, 0, PowerBuckets)
	p.jump(jumpIfConst, r3, 0, 0, below)
	p.do(moveConst, r1, 0, 0, -1)
	p.do(move32, r1, r1, 0, 0)
	p.label(below)
	for step := int32(PowerBuckets / 2); step > 0; step /= 2 {
		small := p.fresh("small")
		p.jump(jumpSmall, r1, 0, 1<<step, small)
		p.do(rightConst, r1, 0, 0, step)
		p.do(addConst, r2, 0, 0, step)
		p.label(small)
	}
	p.count(histogram)
}

func (p *program) end() []byte {
	p.label("end")
	p.do(moveConst, r0, 0, 0, 0)
	p.do(exit, 0, 0, 0, 0)
	return p.finish()
}

// wakingProgram begins a job when a thread is made ready. One that is woken
// within a job (from a lock of the kernel) goes on with it.
func wakingProgram(p *program) []byte {
	p.do(move, r6, r1, 0, 0)
	p.find(0, "end")
	p.do(load64, r1, r9, atWake, 0)
	p.jump(jumpUnless, r1, 0, 0, "end")
	p.do(store64, r9, r7, atWake, 0)
	p.do(storeZero64, r9, 0, atStart, 0)
	p.do(storeZero64, r9, 0, atExec, 0)
	p.do(load64, r1, r9, atLast, 0)
	p.do(store64, r9, r7, atLast, 0)
	p.jump(jumpIfConst, r1, 0, 0, "end")
	p.do(load64, r3, r9, atPeriod, 0)
	p.jump(jumpIfConst, r3, 0, 0, "end")
	p.do(move, r2, r7, 0, 0)
	p.do(sub, r2, r1, 0, 0)
	p.jump(jumpLess, r2, r3, 0, "early")
	p.do(move, r1, r2, 0, 0)
	p.do(sub, r1, r3, 0, 0)
	p.jump(jump, 0, 0, 0, "jitter")
	p.label("early")
	p.do(move, r1, r3, 0, 0)
	p.do(sub, r1, r2, 0, 0)
	p.label("jitter")
	p.note(0, atMaxJitter)
	p.power(atJitters)
	return p.end()
}

// States of a thread that give way: include/linux/sched.h.
const (
	interruptible = 0x1
	exiting       = 0x10 | 0x20 | 0x80
)

// switchProgram takes a thread off its processor and puts another on it. Its
// context is preempt, prev, next, prev_state.
func switchProgram(p *program) []byte {
	p.do(move, r6, r1, 0, 0)
	p.find(8, "next")
	p.leave()
	p.label("next")
	p.find(16, "end")
	p.enter()
	return p.end()
}

// leave ends a job when the thread sleeps; else it was preempted, or waits for
// the kernel.
func (p *program) leave() {
	p.do(load64, r1, r9, atRan, 0)
	p.jump(jumpIfConst, r1, 0, 0, "next")
	p.do(storeZero64, r9, 0, atRan, 0)
	p.do(move, r2, r7, 0, 0)
	p.do(sub, r2, r1, 0, 0)
	p.do(load64, r1, r9, atExec, 0)
	p.do(add, r1, r2, 0, 0)
	p.do(store64, r9, r1, atExec, 0)
	p.do(load64, r1, r6, 0, 0)
	p.do(andConst, r1, 0, 0, 0xff)
	p.jump(jumpUnless, r1, 0, 0, "preempted") // whatever it was about to become
	p.do(load64, r1, r6, 24, 0)
	p.do(move32, r1, r1, 0, 0)
	p.jump(jumpIfConst, r1, 0, 0, "preempted") // in user space, or it yields
	p.jump(jumpSet, r1, 0, interruptible|exiting, "done")
	p.jump(jump, 0, 0, 0, "next")
	p.label("preempted")
	p.increment(atPreempted)
	p.jump(jump, 0, 0, 0, "next")
	p.label("done")
	p.do(load64, r8, r9, atWake, 0)
	p.jump(jumpIfConst, r8, 0, 0, "next")
	p.do(storeWord, r10, r1, eventKind, 0)
	p.measure()
}

// measure takes a job that has ended, and tells what contradicts the proof. r8
// is when it became ready.
func (p *program) measure() {
	p.increment(atJobs)
	p.do(store64, r10, r8, eventWake, 0)
	p.do(move, r1, r7, 0, 0)
	p.do(sub, r1, r8, 0, 0)
	p.do(store64, r10, r1, eventResponse, 0)
	p.note(atSumResponse, atMaxResponse)
	p.do(move, r2, r1, 0, 0)
	p.do(load64, r3, r9, atScale, 0)
	p.do(div, r2, r3, 0, 0)
	p.jump(jumpSmall, r2, 0, ResponseBuckets, "bucket")
	p.do(moveConst, r2, 0, 0, ResponseBuckets-1)
	p.label("bucket")
	p.count(atResponses)
	p.do(load64, r1, r9, atExec, 0)
	p.do(store64, r10, r1, eventExec, 0)
	p.note(atSumExec, atMaxExec)
	p.do(storeZero64, r9, 0, atWake, 0)
	p.do(storeZero64, r9, 0, atStart, 0)
	p.do(storeZero64, r9, 0, atExec, 0)
	p.bound()
	p.do(moveConst, r8, 0, 0, 0)
	for _, limit := range []struct {
		value       int16
		base        byte
		at, counter int16
		kind        int32
	}{{eventResponse, r9, atDeadline, atMisses, int32(Late)}, {eventResponse, r10, stackBound, atBeyond, int32(Beyond)}, {eventExec, r9, atWCET, atOverruns, int32(Overrun)}} {
		within := p.fresh("within")
		p.do(load64, r1, r10, limit.value, 0)
		p.do(load64, r2, limit.base, limit.at, 0)
		p.jump(jumpIfConst, r2, 0, 0, within)
		p.jump(jumpLessEq, r1, r2, 0, within)
		p.increment(limit.counter)
		p.do(addConst, r8, 0, 0, limit.kind)
		p.label(within)
	}
	p.jump(jumpIfConst, r8, 0, 0, "next")
	p.do(storeWord, r10, r8, eventKind, 0)
	p.do(loadWord, r1, r10, stackKey, 0)
	p.do(storeWord, r10, r1, eventThread, 0)
	p.do(move, r2, r10, 0, 0)
	p.do(addConst, r2, 0, 0, eventThread)
	p.mapAddress(r1, ringMap)
	p.do(moveConst, r3, 0, 0, eventBytes)
	p.do(moveConst, 4, 0, 0, 0)
	p.do(callHelper, 0, 0, 0, ringHelper) // a full ring is counted by what is counted above
}

// bound puts the thread's proven bound on the stack, 0 for none. It is in a map
// of its own, since it changes with the configuration while jobs run.
func (p *program) bound() {
	p.do(storeZero64, r10, 0, stackBound, 0)
	p.do(move, r2, r10, 0, 0)
	p.do(addConst, r2, 0, 0, stackKey)
	p.mapAddress(r1, boundsMap)
	p.do(callHelper, 0, 0, 0, lookupHelper)
	p.jump(jumpIfConst, r0, 0, 0, "unbound")
	p.do(load64, r1, r0, 0, 0)
	p.do(store64, r10, r1, stackBound, 0)
	p.label("unbound")
}

// enter lets a thread run.
func (p *program) enter() {
	p.do(store64, r9, r7, atRan, 0)
	p.do(load64, r1, r9, atStart, 0)
	p.jump(jumpUnless, r1, 0, 0, "started")
	p.do(store64, r9, r7, atStart, 0)
	p.do(load64, r2, r9, atWake, 0)
	p.jump(jumpUnless, r2, 0, 0, "woken")
	p.do(store64, r9, r7, atWake, 0) // nobody has seen it become ready
	p.do(move, r2, r7, 0, 0)
	p.label("woken")
	p.do(move, r1, r7, 0, 0)
	p.do(sub, r1, r2, 0, 0)
	p.note(atSumLatency, atMaxLatency)
	p.power(atLatencies)
	p.label("started")
	p.do(callHelper, 0, 0, 0, cpuHelper)
	p.do(addConst, r0, 0, 0, 1)
	p.do(load64, r1, r9, atCPU, 0)
	p.do(store64, r9, r0, atCPU, 0)
	p.jump(jumpIfConst, r1, 0, 0, "end")
	p.jump(jumpIf, r1, r0, 0, "end")
	p.increment(atMigrated)
}
