// describe: writes the manual pages and completions of `varve` from its command
// line, so that they and --help cannot disagree.
//
//   describe TARGET-FOLDER PROSE-FILE...
//
// Writes man/varve.1, man/varve-VERB.1 for each verb, man/mount.varve.8, and
// completions/varve.bash, _varve and varve.fish. A prose file is called
// VERB.man, varve.man or mount.varve.man, and has what a page says beyond
// --help, as roff. Each has to belong to a page.

#include <stdio.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "tools/varve/cli.h"
#include "tools/varve/command.h"
#include "tools/varve/completions.h"
#include "tools/varve/describe_app.h"
#include "tools/varve/manual.h"
#include "tools/varve/mount_options.h"

namespace varve::tools {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("cannot read " + path);
  return text.str();
}

void WriteAll(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

int Run(const std::string& folder, const std::vector<std::string>& files) {
  Action action;
  const auto app = MakeApp(action);
  const Description varve = Describe(*app);
  std::map<std::string, std::string> prose;
  for (const std::string& file : files) {
    const std::string name = file.substr(file.rfind('/') + 1);
    prose[name.substr(0, name.rfind('.'))] = ReadAll(file);
  }
  WriteAll(folder + "/man/varve.1", ManualOfAll(varve, prose["varve"]));
  prose.erase("varve");
  WriteAll(folder + "/man/mount.varve.8",
           ManualOfMountHelper(DescribeMountOptions(), prose["mount.varve"]));
  prose.erase("mount.varve");
  for (const Description& verb : varve.commands) {
    WriteAll(folder + "/man/varve-" + verb.name + ".1",
             ManualOf(verb, prose[verb.name]));
    prose.erase(verb.name);
  }
  if (!prose.empty()) {
    throw std::runtime_error("there is no page " + prose.begin()->first);
  }
  WriteAll(folder + "/completions/varve.bash", BashCompletion(varve));
  WriteAll(folder + "/completions/_varve", ZshCompletion(varve));
  WriteAll(folder + "/completions/varve.fish", FishCompletion(varve));
  return 0;
}

}  // namespace
}  // namespace varve::tools

int main(int argc, char** argv) {
  try {
    return varve::tools::Run(argv[1],
                             std::vector<std::string>(argv + 2, argv + argc));
  } catch (const std::exception& error) {
    fprintf(stderr, "describe: %s\n", error.what());
    return 1;
  }
}
