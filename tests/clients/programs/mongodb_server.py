"""As much of a MongoDB server as drivers ask of one for client-side encryption: it keeps documents.

No package registry has MongoDB's own server. What is tested is what a driver, and the libmongocrypt
in it, make of the key service; the server is only where the driver keeps what it has encrypted.
OP_MSG alone, so clients have to use the Stable API.
"""

import contextlib
import socketserver
import struct
import threading

import bson

OP_MSG = 2013
HEADER = struct.Struct("<iiii")


@contextlib.contextmanager
def running():
    """The URI of a server with nothing in it."""
    with Server(("127.0.0.1", 0), Connection) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"mongodb://127.0.0.1:{server.server_address[1]}/?directConnection=true"
        server.shutdown()


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lock = threading.Lock()
        self.collections = {}
        #: Names of commands that were asked for and are not known.
        self.unknown = []

    def answer(self, command):
        name = next(iter(command))
        method = getattr(self, f"do_{name.lower()}", None)
        if method is None:
            self.unknown.append(name)
            return {"ok": 0, "code": 59, "codeName": "CommandNotFound", "errmsg": f"no {name}"}
        with self.lock:
            return {"ok": 1} | method(command)

    def do_hello(self, _command):
        return {
            "isWritablePrimary": True, "maxBsonObjectSize": 1 << 24, "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 1000, "minWireVersion": 0, "maxWireVersion": 21, "readOnly": False,
        }  # fmt: skip

    def do_endsessions(self, _command):
        return {}

    def do_insert(self, command):
        documents = command["documents"]
        self.documents(command, "insert").extend(documents)
        return {"n": len(documents)}

    def do_find(self, command):
        found = self.found(command, "find", command["filter"])
        name = f"{command['$db']}.{command['find']}"
        return {"cursor": {"id": bson.Int64(0), "ns": name, "firstBatch": found}}

    def do_update(self, command):
        changed = 0
        for update in command["updates"]:
            for document in self.found(command, "update", update["q"]):
                # The date of the change matters to nobody here.
                assert set(update["u"]) <= {"$set", "$currentDate"}, update["u"]
                document.update(update["u"]["$set"])
                changed += 1
        return {"n": changed, "nModified": changed}

    def documents(self, command, verb):
        return self.collections.setdefault((command["$db"], command[verb]), [])

    def found(self, command, verb, condition):
        return [doc for doc in self.documents(command, verb) if matches(doc, condition)]


def matches(document, condition):
    """Equality, `$in` and `$or`: what drivers and the tests ask for."""
    for name, wanted in condition.items():
        if name == "$or":
            if not any(matches(document, part) for part in wanted):
                return False
            continue
        value = document.get(name)
        values = value if isinstance(value, list) else [value]
        accepted = wanted["$in"] if isinstance(wanted, dict) else [wanted]
        if not any(one in accepted for one in values):
            return False
    return True


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(HEADER.size):
            length, request, _, opcode = HEADER.unpack(head)
            body = self.rfile.read(length - HEADER.size)
            assert opcode == OP_MSG, opcode
            answer = bson.encode(self.server.answer(command(body)))
            body = struct.pack("<iB", 0, 0) + answer
            self.wfile.write(HEADER.pack(HEADER.size + len(body), request + 1, request, OP_MSG) + body)


def command(body):
    """The command of a message: the document of section 0, with the sequences of sections 1 in it."""
    found, sequences, at = None, {}, 4
    while at < len(body):
        kind = body[at]
        [size] = struct.unpack_from("<i", body, at + 1)
        section = body[at + 1 : at + 1 + size]
        if kind == 0:
            found = bson.decode(section)
        else:
            name, documents = section[4:].split(b"\0", 1)
            sequences[name.decode()] = bson.decode_all(documents)
        at += 1 + size
    return found | sequences
