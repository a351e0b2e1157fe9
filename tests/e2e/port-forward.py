#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# What `kubectl port-forward` does with the address that CRI's PortForward gives: port-forward.py URL sends its stdin to the port, and
# prints what comes back. The streams are channels of a websocket, two for each port: its bytes, and errors; the first frame of each
# is the port's number.
import sys

import websocket

ws = websocket.create_connection(sys.argv[1].replace("http:", "ws:", 1), subprotocols=["v4.channel.k8s.io"], timeout=100)
ws.send_binary(b"\0" + sys.stdin.buffer.read())
begun = set()
while True:
    frame = ws.recv()
    if not frame:
        break
    channel, data = frame[0], frame[1:]
    if channel not in begun:
        begun.add(channel)
    elif channel == 1:
        sys.exit(data.decode())
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
