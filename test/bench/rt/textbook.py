# Response time analysis as every book has it, in plain Python: the recurrence of
# each task from its cost, until it rests or the deadline is passed (Joseph, Pandya
# 1986; Audsley et al. 1993), or, with an argument, the longest response of all
# jobs of its busy window (Lehoczky 1990). Reads sets as [[wcet, period], ...], the
# most urgent task first, from standard input; prints verdicts and the seconds
# taken.
import json
import sys
import time


def first_job(tasks):
    holds = True
    for i, (c, t) in enumerate(tasks):
        w = c
        while True:
            n = c + sum(-(-w // p) * k for k, p in tasks[:i])
            if n == w or n > t:
                holds = holds and n == w
                break
            w = n
    return holds


def all_jobs(tasks):
    holds = True
    for i, (c, t) in enumerate(tasks):
        q, longest = 0, 0
        while True:
            w = (q + 1) * c
            while True:
                n = (q + 1) * c + sum(-(-w // p) * k for k, p in tasks[:i])
                if n == w:
                    break
                w = n
            longest = max(longest, w - q * t)
            if w <= (q + 1) * t:
                break
            q += 1
        holds = holds and longest <= t
    return holds


sets = json.load(sys.stdin)
judge = all_jobs if len(sys.argv) > 1 else first_job
began = time.perf_counter()
verdicts = [judge(tasks) for tasks in sets]
took = time.perf_counter() - began
json.dump({"seconds": took, "verdicts": verdicts}, sys.stdout)
