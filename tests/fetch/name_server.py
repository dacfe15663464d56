"""A name server on loopback that can change its answers, and a resolver that queries it over UDP."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Self

# It has no types.
dns: Any = import_module("dnslib")
server: Any = import_module("dnslib.server")


class NameServer:
    """Gives the next of ``answers`` with each question, and forbids to remember it: TTL 0."""

    def __init__(self, *answers: str) -> None:
        self.asked = 0
        self._answers = answers
        self._server = server.DNSServer(self, address="127.0.0.1", port=0, logger=server.DNSLogger("-request,-reply"))

    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        if self.asked < len(self._answers):
            address = dns.A(self._answers[self.asked])
            reply.add_answer(dns.RR(request.q.qname, dns.QTYPE.A, rdata=address, ttl=0))
        else:
            reply.header.rcode = dns.RCODE.NXDOMAIN
        self.asked += 1
        return reply

    def __enter__(self) -> Self:
        self._server.start_thread()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._server.server.server_close()

    def ask(self, host: str) -> Sequence[str]:
        port = self._server.server.server_address[1]
        packet = dns.DNSRecord.question(host, "A").send("127.0.0.1", port, timeout=30)
        return [str(answer.rdata) for answer in dns.DNSRecord.parse(packet).rr]
