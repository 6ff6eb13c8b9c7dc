/* A program that waits until it is asked to end. */
#include <signal.h>
#include <unistd.h>

static void ignore(int signal) { (void)signal; }

int main(void)
{
	sigset_t term;
	struct sigaction take = { .sa_handler = ignore };
	int got;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	sigaction(SIGTERM, &take, NULL);
	return sigwait(&term, &got);
}
