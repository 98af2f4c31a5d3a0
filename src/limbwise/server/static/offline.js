// Keeps the page in the browser, so that it opens without a network once it was open. Where there is
// a network its files come first: at this address there may be another page by then.

const VERSION = "limbwise-VERSION", FILES = ["FILES"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(VERSION).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("limbwise-") && name !== VERSION);
  event.waitUntil(caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))));
});
self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || new URL(event.request.url).origin !== location.origin) return;
  event.respondWith(fetch(event.request).catch(async () =>
    (await (await caches.open(VERSION)).match(event.request, { ignoreSearch: true })) ?? Response.error()));
});
