#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A client of Kubernetes' CRI (runtime.v1), as crictl is not in Debian: cri.py METHOD JSON prints the answer as JSON. The table
# has the fields that the tests use; their numbers are those of k8s.io/cri-api's api.proto.
import json
import sys

import grpc

from wire import decode, encode

ADDRESS = "unix:///run/containerd/containerd.sock"
MESSAGES = {
    "PodMetadata": {"name": (1, str), "uid": (2, str), "namespace": (3, str), "attempt": (4, int)},
    "NamespaceOption": {"network": (1, int), "pid": (2, int), "ipc": (3, int)},
    "PodSecurity": {"namespace_options": (1, "NamespaceOption"), "privileged": (6, int)},
    "LinuxPod": {"cgroup_parent": (1, str), "security_context": (2, "PodSecurity"), "resources": (5, "Resources")},
    "PodConfig": {"metadata": (1, "PodMetadata"), "hostname": (2, str), "log_directory": (3, str), "annotations": (7, dict),
                  "linux": (8, "LinuxPod")},
    "RunPodSandboxRequest": {"config": (1, "PodConfig"), "runtime_handler": (2, str)},
    "RunPodSandboxResponse": {"pod_sandbox_id": (1, str)},
    "ContainerMetadata": {"name": (1, str), "attempt": (2, int)},
    "Image": {"image": (1, str)},
    "Mount": {"container_path": (1, str), "host_path": (2, str), "readonly": (3, int)},
    "ContainerSecurity": {"privileged": (2, int), "namespace_options": (3, "NamespaceOption")},
    "Resources": {"cpu_period": (1, int), "cpu_quota": (2, int), "cpu_shares": (3, int), "memory_limit_in_bytes": (4, int)},
    "LinuxContainer": {"resources": (1, "Resources"), "security_context": (2, "ContainerSecurity")},
    "ContainerConfig": {"metadata": (1, "ContainerMetadata"), "image": (2, "Image"), "command": (3, [str]),
                        "mounts": (7, ["Mount"]), "log_path": (11, str), "linux": (15, "LinuxContainer")},
    "CreateContainerRequest": {"pod_sandbox_id": (1, str), "config": (2, "ContainerConfig"), "sandbox_config": (3, "PodConfig")},
    "CreateContainerResponse": {"container_id": (1, str)},
    "StartContainerRequest": {"container_id": (1, str)},
    "StopContainerRequest": {"container_id": (1, str), "timeout": (2, int)},
    "RemoveContainerRequest": {"container_id": (1, str)},
    "UpdateContainerResourcesRequest": {"container_id": (1, str), "linux": (2, "Resources")},
    "ExecSyncRequest": {"container_id": (1, str), "cmd": (2, [str]), "timeout": (3, int)},
    "ExecSyncResponse": {"stdout": (1, str), "stderr": (2, str), "exit_code": (3, int)},
    "ContainerStatusRequest": {"container_id": (1, str)},
    "ContainerStatus": {"id": (1, str), "state": (3, int), "exit_code": (7, int)},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "StopPodSandboxRequest": {"pod_sandbox_id": (1, str)},
    "RemovePodSandboxRequest": {"pod_sandbox_id": (1, str)},
    "PodSandboxStatusRequest": {"pod_sandbox_id": (1, str)},
    "PodNetwork": {"ip": (1, str)},
    "PodSandboxStatus": {"id": (1, str), "state": (3, int), "network": (5, "PodNetwork")},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus")},
    "PortForwardRequest": {"pod_sandbox_id": (1, str), "port": (2, [int])},
    "PortForwardResponse": {"url": (1, str)},
    "StatusRequest": {},
}


def main():
    method, request = sys.argv[1], json.loads(sys.argv[2])
    with grpc.insecure_channel(ADDRESS) as channel:
        call = channel.unary_unary("/runtime.v1.RuntimeService/" + method)
        try:
            answer = call(encode(MESSAGES, method + "Request", request), timeout=200)
        except grpc.RpcError as e:
            sys.exit(f"{method}: {e.code().name}: {e.details()}")
    print(json.dumps(decode(MESSAGES, method + "Response", answer)))


main()
