import unittest
class DiskFullTest(unittest.TestCase): pass
class ProgressTest(unittest.TestCase): pass
class SpaceTest(unittest.TestCase): pass
class StoreFileTest(unittest.TestCase): pass
