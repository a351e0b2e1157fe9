/* SPDX-License-Identifier: Apache-2.0 */
#include "runtime/runtime.h"

int main(int argc, char **argv)
{
	return runtime_main(argc, argv);
}
