"""An MCP client that knows a URL and nothing else.

usage: client.py URL {auto|legacy|sse} [HEADERS]

HEADERS is a JSON object of headers that its user has set.

It reads calls from standard input, one JSON object {"tool": …, "arguments": …}
a line, after it has written one line with what it has found. When it needs its
user, it writes {"open": URL} and waits for the user at a loopback port.
"""

import asyncio
import json
import sys
import urllib.parse

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from mcp.shared.exceptions import MCPError


def say(**message):
    print(json.dumps(message), flush=True)


class Memory:
    """Token storage that forgets everything with the process."""

    def __init__(self):
        self.tokens = None
        self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Callback:
    """The loopback end of the authorization code flow (RFC 8252 section 7.3)."""

    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    async def listen(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/callback"

    async def serve(self, reader, writer):
        line = (await reader.readline()).decode()
        while (await reader.readline()).strip():
            pass
        query = urllib.parse.urlsplit(line.split(" ")[1]).query
        body = b"You may close this window."
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        await writer.drain()
        writer.close()
        if not self.answer.done():
            self.answer.set_result(dict(urllib.parse.parse_qsl(query)))

    async def wait(self):
        answer = await asyncio.wait_for(self.answer, 150)
        if "error" in answer:
            raise RuntimeError(f"the user was refused: {answer['error']}: {answer.get('error_description', '')}")
        return AuthorizationCodeResult(code=answer["code"], state=answer.get("state"), iss=answer.get("iss"))


async def main(url, mode, headers="{}"):
    headers = json.loads(headers)
    callback = Callback()
    redirect_uri = await callback.listen()

    async def open_browser(authorization_url):
        say(open=authorization_url)

    auth = OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="Python MCP client",
            redirect_uris=[redirect_uri],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        ),
        storage=Memory(),
        redirect_handler=open_browser,
        callback_handler=callback.wait,
    )
    async with httpx2.AsyncClient(auth=auth, headers=headers, timeout=90) as http:
        if mode == "sse":
            transport, mode = sse_client(url, headers=headers, auth=auth), "legacy"
        else:
            transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=90) as client:
            tools = await client.list_tools()
            say(
                protocol=client.protocol_version,
                server=client.server_info.name if client.server_info else None,
                tools=[tool.name for tool in tools.tools],
            )
            while line := await asyncio.to_thread(sys.stdin.readline):
                call = json.loads(line)
                try:
                    result = await client.call_tool(call["tool"], call.get("arguments") or {})
                except MCPError as error:
                    say(refused=str(error))
                else:
                    say(result=result.model_dump(mode="json", by_alias=True, exclude_none=True))


def causes(error):
    if isinstance(error, BaseExceptionGroup):
        return [cause for inner in error.exceptions for cause in causes(inner)]
    return [f"{type(error).__name__}: {error}"]


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except BaseException as error:
        say(error="; ".join(causes(error)))
        sys.exit(1)
