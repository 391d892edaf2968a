"""The log that tests trust: one JSON line an event, appended to one file by every model of a server."""

import json
import os
import threading
import time

FILE = os.path.join(os.environ["TOY_LLM_LOG_FOLDER"], "events.jsonl")


class Request:
    """A request's place in the log. `end` writes the one terminal event, whoever comes first."""

    def __init__(self, log: "EventLog", request_id: str):
        self.id = request_id
        self._log = log
        self._lock = threading.Lock()
        self._ended = False

    def event(self, name: str, **fields) -> None:
        self._log.write(self.id, name, fields)

    def end(self, name: str, **fields) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self.event(name, **fields)


class EventLog:
    def __init__(self, model: str):
        self._model = model
        # Appends below 4 KiB reach a local file whole; longer ones are safe too, because a write is one call.
        self._file = os.open(FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def received(self, request_id: str, inputs: dict) -> Request:
        request = Request(self, request_id)
        request.event("received", inputs=inputs)
        return request

    def write(self, request_id: str, name: str, fields: dict) -> None:
        entry = {"timeMs": time.time() * 1000, "model": self._model, "requestId": request_id, "event": name, **fields}
        os.write(self._file, (json.dumps(entry) + "\n").encode())
