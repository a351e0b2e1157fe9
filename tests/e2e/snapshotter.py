#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A snapshotter for containerd (services/snapshots/v1) that keeps layers as EROFS files, and gives one as containerd 2's own gives the
# view of a single layer: snapshotter.py SOCKET FOLDER. Debian's containerd has none. It forgets all at its end.
import os
import subprocess
import sys
import threading
from concurrent import futures

import grpc

from wire import decode, encode

KEYS = {"key": (2, str)}
PREPARE = {"key": (2, str), "parent": (3, str)}
MOUNTS = {"mounts": (1, ["Mount"])}
INFO = {"info": (1, "Info")}
MESSAGES = {
    "Mount": {"type": (1, str), "source": (2, str), "options": (4, [str])},
    "Time": {},
    "Info": {"name": (1, str), "parent": (2, str), "kind": (3, int), "created_at": (4, "Time"), "updated_at": (5, "Time")},
    "PrepareRequest": PREPARE, "PrepareResponse": MOUNTS, "ViewRequest": PREPARE, "ViewResponse": MOUNTS,
    "MountsRequest": KEYS, "MountsResponse": MOUNTS, "StatRequest": KEYS, "StatResponse": INFO,
    "UpdateRequest": INFO, "UpdateResponse": INFO, "ListRequest": {}, "ListResponse": {"info": (1, ["Info"])},
    "CommitRequest": {"name": (2, str), "key": (3, str)}, "CommitResponse": {},
    "RemoveRequest": KEYS, "RemoveResponse": {}, "CleanupRequest": {}, "CleanupResponse": {},
    "UsageRequest": KEYS, "UsageResponse": {"size": (1, int), "inodes": (2, int)},
}
VIEW, ACTIVE, COMMITTED = 1, 2, 3
snapshots = {}  # by key: Info, and where its files are


def find(key, context):
    if key not in snapshots:
        context.abort(grpc.StatusCode.NOT_FOUND, f"no snapshot {key}")
    return snapshots[key]


def mounts(request, context):
    parent = find(request["key"], context)["parent"]
    if parent:
        return {"mounts": [{"type": "erofs", "source": snapshots[parent]["path"], "options": ["ro", "loop"]}]}
    return {"mounts": [{"type": "bind", "source": snapshots[request["key"]]["path"], "options": ["rw", "rbind"]}]}


def add(request, context, kind):
    key, parent = request["key"], request.get("parent", "")
    if parent:
        find(parent, context)
    path = f"{sys.argv[2]}/{len(snapshots)}-{os.urandom(4).hex()}"
    if not parent:
        os.makedirs(path)
    snapshots[key] = {"name": key, "parent": parent, "kind": kind, "path": path}
    return mounts(request, context)


def commit(request, context):
    s = find(request["key"], context)
    subprocess.run(["mkfs.erofs", "--quiet", s["path"] + ".erofs", s["path"]], check=True)
    del snapshots[request["key"]]
    snapshots[request["name"]] = s | {"name": request["name"], "kind": COMMITTED, "path": s["path"] + ".erofs"}
    return {}


def info(s):
    return {key: s[key] for key in ("name", "parent", "kind")} | {"created_at": {}, "updated_at": {}}


METHODS = {
    "Prepare": lambda r, c: add(r, c, ACTIVE),
    "View": lambda r, c: add(r, c, VIEW),
    "Mounts": mounts,
    "Commit": commit,
    "Remove": lambda r, c: find(r["key"], c) and snapshots.pop(r["key"]) and {},
    "Stat": lambda r, c: {"info": info(find(r["key"], c))},
    "Update": lambda r, c: {"info": info(find(r["info"]["name"], c))},
    "List": lambda r, c: {"info": [info(s) for s in snapshots.values()]},
    "Usage": lambda r, c: find(r["key"], c) and {},
    "Cleanup": lambda r, c: {},
}


def serve(name):
    def unary(data, context):
        return encode(MESSAGES, name + "Response", METHODS[name](decode(MESSAGES, name + "Request", data), context))

    if name == "List":
        return grpc.unary_stream_rpc_method_handler(lambda data, context: iter([unary(data, context)]))
    return grpc.unary_unary_rpc_method_handler(unary)


server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
service = "containerd.services.snapshots.v1.Snapshots"
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: serve(name) for name in METHODS}),))
server.add_insecure_port("unix://" + sys.argv[1])
server.start()
threading.Event().wait()
