# SPDX-License-Identifier: Apache-2.0
# Protobuf's encoding, for programs that know their messages from a table: {message: {field: (number, kind)}}. kind: int, str,
# a message's name; to encode, also dict (of strings), or a list of one of them.


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def lengthy(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def encode(messages, name, value):
    out = b""
    for key, v in value.items():
        number, kind = messages[name][key]
        for one in v if isinstance(kind, list) else [v]:
            k = kind[0] if isinstance(kind, list) else kind
            if k is int:
                out += varint(number << 3) + varint(one & (1 << 64) - 1)
            elif k is str:
                out += lengthy(number, one.encode())
            elif k is dict:
                for pair in one.items():
                    out += lengthy(number, lengthy(1, pair[0].encode()) + lengthy(2, pair[1].encode()))
            else:
                out += lengthy(number, encode(messages, k, one))
    return out


def take(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return n, at


def decode(messages, name, data):
    fields = {number: (key, kind) for key, (number, kind) in messages.get(name, {}).items()}
    out, at = {}, 0
    while at < len(data):
        tag, at = take(data, at)
        if tag & 7 == 0:
            value, at = take(data, at)
        else:
            n, at = take(data, at)
            value, at = data[at:at + n], at + n
        key, kind = fields.get(tag >> 3, (None, None))
        if key:
            out[key] = value if kind is int else value.decode() if kind is str else decode(messages, kind, value)
    return out
