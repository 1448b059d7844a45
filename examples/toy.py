#!/usr/bin/env python3
"""A toy in Python, over MQTT alone: it plays messages, talks to the hub, and obeys its owner.

It runs on a Raspberry Pi with a microphone and a speaker, and needs paho-mqtt (pip install paho-mqtt). The return key is
its button: pressed once it records, pressed again it stops. docs/mqtt.md describes the protocol.

    toy.py --hub 192.168.1.10 --toy 5c8f… --key 0123… --secret …

`toyhub device add` prints key and secret; once the toy is bound in the app, /open_toy gives its id.
"""

import argparse
import json
import os
import queue
import shlex
import subprocess
import sys
import tempfile
import threading
import uuid

import paho.mqtt.client as mqtt

CHUNK_BYTES = 4096
CHUNKS_AT_ONCE = 16
ANSWER_S = 60


class Refused(Exception):
    """The hub has refused a request."""


class Toy:
    """One connection, and a queue of what the toy does: it plays and speaks one thing after the other."""

    def __init__(self, options):
        self.options = options
        self.topic = f"toy/{options.toy}"
        self.jobs = queue.Queue(maxsize=1000)
        self.answers = {}
        self.pieces = {}
        self.lock = threading.Lock()
        self.number = 0
        self.seen = set()
        self.friend = None
        self.player = None
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=options.toy, clean_session=False, protocol=mqtt.MQTTv311
        )
        self.client.username_pw_set(options.key, options.secret)
        if options.tls:
            self.client.tls_set()
        self.client.on_connect = self.connected
        self.client.on_message = self.received
        # Without a connection, it tries again for ever.
        self.client.reconnect_delay_set(min_delay=1, max_delay=60)

    def connected(self, client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"refused: {reason}", file=sys.stderr, flush=True)
            return
        # The hub first sends all messages that are unread.
        client.subscribe([(f"{self.topic}/file/+/+", 1), (f"{self.topic}/cmd/#", 1), (f"{self.topic}/in", 1)])
        self.report("volume", self.options.volume)
        print("connected", flush=True)

    def received(self, _client, _userdata, message):
        """Runs on the thread of the connection: it must not wait."""
        parts = message.topic.split("/")
        if parts[2] == "file":
            with self.lock:
                self.pieces.setdefault(parts[3], {})[int(parts[4])] = message.payload
        elif parts[2] == "cmd":
            if parts[3] == "volume" and message.payload.isdigit():
                self.set_volume(int(message.payload))
        else:
            self.take(json.loads(message.payload))

    def take(self, event):
        if "id" in event:
            with self.lock:
                answer = self.answers.get(event["id"])
            if answer:
                answer.put(event)
            return
        kind = event.get("type")
        # Events may come twice: they are known by their ids.
        if event.get("_id") in self.seen:
            return
        if kind == "message":
            self.do(self.play_message, event)
        elif kind == "play":
            self.do(self.play, event.get("music") or event.get("chat"), "music" if "music" in event else "chat")
        elif kind == "reminder" and event["sound"]:
            self.do(self.play_reminder, event)
        elif kind == "command":
            self.obey(event["command"])

    def do(self, job, *arguments):
        try:
            self.jobs.put_nowait((job, arguments))
        except queue.Full:
            print("too much to do", file=sys.stderr, flush=True)

    # Requests

    def ask(self, do, **fields):
        """Sends a request, and gives the data of its answer."""
        answer = queue.Queue(maxsize=1)
        with self.lock:
            self.number += 1
            number = self.number
            self.answers[number] = answer
        try:
            self.client.publish(f"{self.topic}/out", json.dumps({"id": number, "do": do, **fields}), qos=1)
            event = answer.get(timeout=ANSWER_S)
        finally:
            with self.lock:
                del self.answers[number]
        if event.get("code", 0) != 0:
            raise Refused(f"{do}: {event.get('msg')}")
        return event.get("data", event)

    def fetch(self, name, kind):
        """Fetches a sound in pieces, and gives a file with it."""
        with self.lock:
            self.pieces[name] = {}
        about = {"name": name, "kind": kind, "chunk_bytes": CHUNK_BYTES}
        count = self.ask("get_file", count=0, **about)["chunks"]
        try:
            for first in range(0, count, CHUNKS_AT_ONCE):
                self.ask("get_file", first=first, count=CHUNKS_AT_ONCE, **about)
        finally:
            with self.lock:
                pieces = self.pieces.pop(name)
        file = tempfile.NamedTemporaryFile(suffix=os.path.splitext(name)[1])
        file.write(b"".join(pieces[number] for number in range(count)))
        file.flush()
        return file

    # Sounds

    def play(self, name, kind="chat"):
        """Plays a sound to its end. Returns whether it was not stopped."""
        with self.fetch(name, kind) as file:
            self.player = subprocess.Popen([*shlex.split(self.options.play), file.name])
            stopped = self.player.wait() != 0
            self.player = None
        return not stopped

    def play_message(self, event):
        if event["_id"] in self.seen:
            return
        if event["notice"]:
            self.play(event["notice"])
        if self.play(event["chat"]):
            self.ask("mark_read", from_user=event["from_user"], message=event["_id"])
        self.seen.add(event["_id"])

    def play_reminder(self, event):
        if event["_id"] not in self.seen:
            self.seen.add(event["_id"])
            self.play(event["sound"])

    def obey(self, command):
        if command == "stop" and self.player:
            self.player.terminate()
        elif command in ("louder", "softer"):
            self.set_volume(self.options.volume + (15 if command == "louder" else -15))

    def set_volume(self, volume):
        self.options.volume = max(0, min(100, volume))
        if self.options.mixer:
            subprocess.run([*shlex.split(self.options.mixer), f"{self.options.volume}%"], check=False)
        self.report("volume", self.options.volume)

    def report(self, key, value):
        """Publishes a state, for the owner's app."""
        self.client.publish(f"{self.topic}/state/{key}", str(value), qos=1, retain=True)

    # The button

    def talk(self, released):
        """Records until the button is released. Each piece is sent at once, so that little is left at the end."""
        upload, count = uuid.uuid4().hex[:16], 0
        recorder = subprocess.Popen(shlex.split(self.options.record), stdout=subprocess.PIPE)
        threading.Thread(target=lambda: (released.wait(), recorder.terminate()), daemon=True).start()
        while piece := recorder.stdout.read(CHUNK_BYTES):
            self.client.publish(f"{self.topic}/voice/{upload}/{count}", piece, qos=1)
            count += 1
        recorder.wait()
        if count == 0:
            return
        friend, self.friend = self.friend, None
        if friend:
            self.ask("toy_uploader", to_user=friend, upload=upload, chunks=count)
            print("sent", flush=True)
            return
        answer = self.ask("ai_uploader", upload=upload, chunks=count)
        if "music" in answer:
            self.play(answer["music"], "music")
        else:
            self.play(answer["chat"])
            if answer["from_user"] != "ai":
                # The next recording is for this friend.
                self.friend = answer["from_user"]
        print("answered", flush=True)

    def button(self):
        """Reads the return key, until the end of the input."""
        released = None
        for _ in sys.stdin:
            if released and not released.is_set():
                released.set()
                continue
            if self.player:
                self.player.terminate()
            released = threading.Event()
            self.do(self.talk, released)

    def run(self):
        self.client.connect_async(self.options.hub, self.options.port)
        self.client.loop_start()
        threading.Thread(target=self.button, daemon=True).start()
        while True:
            job, arguments = self.jobs.get()
            try:
                job(*arguments)
            except (Refused, queue.Empty, KeyError, OSError) as error:
                print(f"failed: {error!r}", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hub", required=True, help="address of the hub")
    parser.add_argument("--port", type=int, default=1883, help="its MQTT port")
    parser.add_argument("--tls", action="store_true", help="use TLS, as on port 8883")
    parser.add_argument("--toy", required=True, help="id of the toy")
    parser.add_argument("--key", required=True, help="device key")
    parser.add_argument("--secret", default=os.environ.get("TOY_SECRET"), help="secret of the device, or TOY_SECRET")
    parser.add_argument("--play", default="mpg123 -q", help="program that plays an MP3 file; its status is 0 at the end")
    parser.add_argument("--record", default="arecord -q -f S16_LE -r 16000 -c 1 -t wav", help="program that records to its output")
    parser.add_argument("--mixer", default="amixer -q sset Master", help="program that sets the volume; empty for none")
    parser.add_argument("--volume", type=int, default=50, help="volume at the start, in percent")
    Toy(parser.parse_args()).run()


if __name__ == "__main__":
    main()
