/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/io.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "base/guest.h"
#include "guest-agent/init.h"

void poweroff(void)
{
	sync();
	/* One exit to the VMM, which ends the machine there; a QEMU ignores it, and so does a kernel without ioperm. */
	if (ioperm(GUEST_POWEROFF_PORT, 2, 1) == 0)
		outw(GUEST_POWEROFF_VALUE, GUEST_POWEROFF_PORT);
	/* Without ACPI a power off only halts; a restart ends the machine under any VMM. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}
