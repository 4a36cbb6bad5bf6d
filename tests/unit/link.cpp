// An empty program: linking it with one whole room proves the room needs nothing above it.
int main() { return 0; }
