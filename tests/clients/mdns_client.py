"""Waits for the service of a type at a port in mDNS, and for its end: mdns_client.py TYPE PORT [gone]"""

import queue
import sys
import time

from zeroconf import ServiceBrowser, ServiceListener, Zeroconf

kind, port = sys.argv[1] + ".local.", int(sys.argv[2])
deadline = time.monotonic() + 50
seen, gone = queue.Queue(), queue.Queue()


class Listener(ServiceListener):
    def add_service(self, client, kind, name):
        seen.put(name)

    def update_service(self, client, kind, name):
        seen.put(name)

    def remove_service(self, client, kind, name):
        gone.put(name)


client = Zeroconf()
browser = ServiceBrowser(client, kind, Listener())
# Other hubs of this machine have ports of their own.
while True:
    name = seen.get(timeout=deadline - time.monotonic())
    info = client.get_service_info(kind, name, timeout=5000)
    if info is not None and info.port == port:
        texts = {key.decode(): (value or b"").decode() for key, value in info.properties.items()}
        print("found", name, info.server, info.parsed_addresses(), texts, flush=True)
        break
while "gone" in sys.argv[3:] and gone.get(timeout=deadline - time.monotonic()) != name:
    pass
client.close()
