/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/spec.h"

void oci_spec_free(Microvm__Spec *spec)
{
	if (spec)
		microvm__spec__free_unpacked(spec, NULL);
}

void oci_process_free(Microvm__Process *process)
{
	if (process)
		microvm__process__free_unpacked(process, NULL);
}

void oci_resources_free(Microvm__Resources *resources)
{
	if (resources)
		microvm__resources__free_unpacked(resources, NULL);
}
