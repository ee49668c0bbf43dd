"""redis.asyncio: many connections at once, pipelines, iterators."""

import asyncio

import redis.asyncio


def run(server, protocol, work):
    async def main():
        client = redis.asyncio.Redis(port=server.port, protocol=protocol)
        await client.flushall()
        try:
            return await work(client)
        finally:
            await client.aclose()

    return asyncio.run(main())


def test_concurrent_clients(server, protocol):
    async def work(client):
        async def one(n):
            await client.set(f"k{n}", n)
            await client.incr("total")
            return await client.get(f"k{n}")

        replies = await asyncio.gather(*[one(n) for n in range(200)])
        assert replies == [str(n).encode() for n in range(200)]
        assert await client.get("total") == b"200"

    run(server, protocol, work)


def test_pipeline_and_scan(server, protocol):
    async def work(client):
        async with client.pipeline(transaction=False) as pipe:
            for i in range(1000):
                pipe.set(f"k{i}", i)
                pipe.get(f"k{i}")
            replies = await pipe.execute()
        assert replies[1::2] == [str(i).encode() for i in range(1000)]
        found = [key async for key in client.scan_iter(match="k9*")]
        assert len(set(found)) == len(found) == 111
        assert await client.mget("k1", "k2", "none") == [b"1", b"2", None]
        assert await client.delete(*[f"k{i}" for i in range(1000)]) == 1000

    run(server, protocol, work)
