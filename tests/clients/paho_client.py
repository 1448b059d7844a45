"""Eclipse paho against a hub: python3 paho_client.py HOST PORT 3|5. Ends with 0 if all is as it should be."""

import queue
import socket
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

HOST, PORT, V5 = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "5"
PATIENCE = 10


class Client:
    """A paho client whose callbacks become queues."""

    def __init__(self, name, clean=True, will=None):
        self.connected, self.subscribed, self.messages = queue.Queue(), queue.Queue(), queue.Queue()
        more = {} if V5 else {"clean_session": clean}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5 if V5 else mqtt.MQTTv311, **more
        )
        self.mqtt.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags.session_present, str(reason)))
        self.mqtt.on_subscribe = lambda _c, _u, _id, reasons, _p: self.subscribed.put([r.value for r in reasons])
        self.mqtt.on_message = lambda _c, _u, message: self.messages.put(message)
        if will:
            self.mqtt.will_set(*will)
        options = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 300
            options = {"clean_start": clean, "properties": properties}
        self.mqtt.connect(HOST, PORT, **options)
        self.mqtt.loop_start()
        self.present, reason = self.connected.get(timeout=PATIENCE)
        assert reason == "Success", reason

    def subscribe(self, topic, qos):
        self.mqtt.subscribe(topic, qos)
        assert self.subscribed.get(timeout=PATIENCE) == [qos]

    def publish(self, topic, payload, qos=0, **more):
        self.mqtt.publish(topic, payload, qos, **more).wait_for_publish(PATIENCE)

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def end(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def break_off(self):
        """As if the network were gone: no DISCONNECT."""
        self.mqtt.loop_stop()
        self.mqtt.socket().shutdown(socket.SHUT_RDWR)


def every_quality(prefix):
    one, two = Client(prefix + "one"), Client(prefix + "two")
    one.subscribe(prefix + "qos/#", 2)
    for qos in (0, 1, 2):
        two.publish(f"{prefix}qos/{qos}", f"payload {qos}", qos)
    seen = sorted((m.topic, m.payload.decode(), m.qos) for m in (one.next() for _ in range(3)))
    assert seen == [(f"{prefix}qos/{q}", f"payload {q}", q) for q in (0, 1, 2)], seen
    assert one.messages.empty()
    one.end()
    two.end()


def retained(prefix):
    speaker = Client(prefix + "speaker")
    speaker.publish(prefix + "kept", "state", 1, retain=True)
    for expected in ("state", None):
        listener = Client(prefix + "listener")
        listener.subscribe(prefix + "kept", 1)
        if expected:
            message = listener.next()
            assert (message.payload.decode(), message.retain) == (expected, True)
        else:
            listener.publish(prefix + "kept", "", 1, retain=True)
        speaker.publish(prefix + "kept", "", 1, retain=True)
        listener.end()
    speaker.end()


def will(prefix):
    listener = Client(prefix + "listener")
    listener.subscribe(prefix + "will", 1)
    Client(prefix + "doomed", will=(prefix + "will", "gone", 1)).break_off()
    assert listener.next().payload == b"gone"
    listener.end()


def kept_session(prefix):
    away = Client(prefix + "away", clean=False)
    assert not away.present
    away.subscribe(prefix + "queued/#", 2)
    away.end()
    speaker = Client(prefix + "speaker")
    for qos in (1, 2):
        speaker.publish(f"{prefix}queued/{qos}", str(qos), qos)
    away = Client(prefix + "away", clean=False)
    assert away.present
    assert [(m.payload.decode(), m.qos) for m in (away.next(), away.next())] == [("1", 1), ("2", 2)]
    away.end()
    speaker.end()


def properties_of_version_5(prefix):
    one, two = Client(prefix + "one"), Client(prefix + "two")
    one.subscribe(prefix + "properties", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 60
    properties.ContentType = "text/plain"
    properties.ResponseTopic = prefix + "answer"
    properties.CorrelationData = b"\0\1"
    properties.UserProperty = [("name", "value"), ("名", "值")]
    two.publish(prefix + "properties", "x", 1, properties=properties)
    seen = one.next().properties
    for name in ("PayloadFormatIndicator", "ContentType", "ResponseTopic", "CorrelationData", "UserProperty"):
        assert getattr(seen, name) == getattr(properties, name), name
    assert 0 < seen.MessageExpiryInterval <= 60
    one.end()
    two.end()


for check in [every_quality, retained, will, kept_session] + ([properties_of_version_5] if V5 else []):
    check(f"{check.__name__}/{sys.argv[3]}/你好/")
    print("ok", check.__name__)
