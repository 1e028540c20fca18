-- wrk's requests: accounts and addresses at random, as those of our own clients (callers.rs).
local accounts, addresses

function init(args)
  accounts, addresses = tonumber(args[1]), tonumber(args[2])
  math.randomseed(1)
end

function request()
  local account = math.random(0, accounts - 1)
  -- 0x9E3779B1, in two halves so that no product exceeds 2^53.
  local number = math.random(0, addresses - 1)
  local mixed = (number * 0x79B1 + ((number * 0x9E37) % 65536) * 65536) % 4294967296
  local first = math.floor(mixed / 16777216) % 100 + 20
  local address = string.format("%d.%d.%d.%d", first, math.floor(mixed / 65536) % 256, math.floor(mixed / 256) % 256, mixed % 256)
  return string.format(
    "GET /search HTTP/1.1\r\nhost: search.example\r\nuser-agent: proxy-bench/1.0\r\naccept: application/json\r\n"
      .. "accept-encoding: gzip\r\nx-api-key: key-%06d-0123456789abcdef0123\r\nx-forwarded-for: %s\r\n\r\n",
    account, address)
end
