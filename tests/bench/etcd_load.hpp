// Durable puts to Debian's etcd, for comparison.
#pragma once

#include <string>

// Starts `etcd` on loopback with its data in `directory`, puts values of 500 bytes for three
// seconds from 1, 64 and 1,000 connections (HTTP/1.1 keep-alive, its JSON gateway, which costs it:
// its own gRPC load tool measures some 3,000 puts a second here), and prints rates.
// Prints why where there is no etcd.
void compare_with_etcd(const std::string& directory);
